"""CustomResourceDefinitions of Weir's own kinds, made from the models. Pure.

`schema` turns a model into a structural schema, `rules` says in CEL what its validators refuse,
`definition` puts both into an object that `kubectl apply` takes.
"""

from controlplane.resources.crds.definition import definitions, names

__all__ = ["definitions", "names"]
