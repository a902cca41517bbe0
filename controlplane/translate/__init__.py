"""Declared resources and verdicts into Envoy resources, one module per xDS type. Pure."""
