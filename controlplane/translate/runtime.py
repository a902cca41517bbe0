"""The runtime layer: values that Envoys take up without a listener being drained for them."""

from __future__ import annotations

from envoy_data_plane.envoy.service.runtime.v3 import Runtime
from envoy_data_plane.google.protobuf import Struct, Value

from controlplane.translate.shares import PER_PERCENT
from controlplane.translate.wire import wire

LAYER = "weir"
"""Name of the layer in the bootstrap and of the resource."""
ACCESS_LOG_SAMPLING = "weir.access_log_sampling"


def runtime(sampling_percent: float) -> bytes:
    """The layer: `sampling_percent` of the requests are logged.

    The value is a plain number in the unit of the filter's own default, millionths. Envoy 1.40
    passes over a fraction there without a word.
    """
    if not 0.0 <= sampling_percent <= 100.0:
        raise ValueError(f"sampling of {sampling_percent} % is not in 0..100")
    millionths = wire(Value, number_value=float(round(sampling_percent * PER_PERCENT)))
    layer = wire(Struct, fields={ACCESS_LOG_SAMPLING: millionths})
    return wire(Runtime, name=LAYER, layer=layer)
