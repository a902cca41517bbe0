"""The runtime layer: values that Envoys take up without a listener being drained for them."""

from __future__ import annotations

from envoy_data_plane.envoy.service.runtime.v3 import Runtime
from envoy_data_plane.google.protobuf import Struct, Value

from controlplane.translate.wire import wire

LAYER = "weir"
"""Name of the layer in the bootstrap and of the resource."""
ACCESS_LOG_SAMPLING = "weir.access_log_sampling"


def runtime(sampling_percent: float) -> bytes:
    """The layer: `sampling_percent` of the requests are logged."""
    if not 0.0 <= sampling_percent <= 100.0:
        raise ValueError(f"sampling of {sampling_percent} % is not in 0..100")
    layer = wire(Struct, fields={ACCESS_LOG_SAMPLING: _percent(sampling_percent)})
    return wire(Runtime, name=LAYER, layer=layer)


def _percent(percent: float) -> bytes:
    """A fraction as Envoy's runtime reads it, exact to a ten-thousandth of a percent."""
    fraction = {
        "numerator": wire(Value, number_value=float(round(percent * 10_000))),
        "denominator": wire(Value, string_value="MILLION"),
    }
    return wire(Value, struct_value=wire(Struct, fields=fraction))
