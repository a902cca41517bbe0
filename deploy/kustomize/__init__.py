"""A kustomize base and overlays, made from the chart: `python -m deploy.kustomize` writes them."""
