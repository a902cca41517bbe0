"""Expressions with values in place of Grafana's variables, for who asks Prometheus itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

ALL = ".*"
LEFT = re.compile(r"\$(?:__)?\w+|\$\{\w+\}")


def asked(expr: str, chosen: Mapping[str, str] | None = None, *, window_s: int = 10) -> str:
    """The expression as Grafana would send it: all of everything unless chosen.

    Raises `ValueError` where it names a variable that a dashboard does not have.
    """
    values = {
        "__rate_interval": f"{window_s}s",
        "__interval": f"{window_s}s",
        "cluster": ALL,
        "namespace": ALL,
        "service": ALL,
        **(chosen or {}),
    }
    for name, value in values.items():
        expr = re.sub(rf"\${name}\b|\${{{name}}}", value.replace("\\", r"\\"), expr)
    if left := LEFT.search(expr):
        raise ValueError(f"no value for {left.group()} in {expr}")
    return expr
