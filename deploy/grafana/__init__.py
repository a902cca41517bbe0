"""Grafana dashboards from code: `python -m deploy.grafana` writes `charts/weir/dashboards/*.json`.

`boards` has what is shown, as values; `draw` makes Grafana's documents of it with Grafana's own
library; `queries` puts values in place of the variables, for those who ask Prometheus themselves:
the test that no panel is empty, and the pictures in the documentation.
"""
