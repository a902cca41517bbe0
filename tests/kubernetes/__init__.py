"""Weir against a Kubernetes API."""
