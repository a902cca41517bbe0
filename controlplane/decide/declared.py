"""What people declared of endpoints: capacities and classes, read from labels with no trust."""

from __future__ import annotations

import math

import numpy as np

from controlplane.model import Endpoint
from controlplane.model.observation import Floats

CLASS_LABEL = "weir.dev/class"


def declared_capacities(endpoints: tuple[Endpoint, ...]) -> Floats | None:
    """(n,) capacities relative to one another, NaN where none is declared; None: none is."""
    values = np.array([_capacity(endpoint) for endpoint in endpoints], dtype=np.float64)
    return values if np.isfinite(values).any() else None


def declared_classes(endpoints: tuple[Endpoint, ...]) -> tuple[str, ...] | None:
    """The declared class of each endpoint, empty where none is; None: none is."""
    classes = tuple(endpoint.labels.get(CLASS_LABEL, "") for endpoint in endpoints)
    return classes if any(classes) else None


def _capacity(endpoint: Endpoint) -> float:
    """A number above 0, or NaN: a label is text that anybody may have written."""
    try:
        value = endpoint.capacity
    except ValueError:
        return math.nan
    return value if value is not None and 0.0 < value < math.inf else math.nan
