"""A kustomize base, made from the chart: `python -m deploy.kustomize` writes it anew."""
