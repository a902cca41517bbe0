"""Every feature of the data path beside the tests that send requests for it: `make features`.

`features.yaml` says which, `gateway_api.yaml` those of the Gateway API's own list;
`python -m tests.features` runs these tests and prints the table with what came of them, `--write`
writes docs/features.md and the list in docs/gateway-api.md. A feature without a test says why.
"""
