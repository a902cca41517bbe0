"""Every feature of the data path beside the tests that send requests for it: `make features`.

`features.yaml` says which; `python -m tests.features` runs these tests and prints the table with
what came of them, `--write` writes docs/features.md. A feature without a test says why.
"""
