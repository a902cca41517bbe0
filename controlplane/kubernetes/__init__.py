"""Documents from the API of Kubernetes, and what became of them written back.

`client` alone imports the library that talks to it. `reflector` follows one kind (list, watch,
relist), `objects` holds what is there, `source` makes of it what a folder of YAML is made into, by
the same code; `status` says what became of each object, and `writer` writes that where it changed.
`lease` chooses who decides among several replicas.
"""
