"""Answers made smaller: the filters, one for each encoding, and the routes that want them.

Of encodings that a client likes equally the last of these filters is taken. A strong ETag says
"byte for byte", which the compressed answer is not: it becomes weak, so that `if-none-match` still
works and `if-range` gets the whole (RFC 9110, 8.8.3.3). Parts (206) are never
compressed: their offsets are those of the plain answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from betterproto2 import Message
from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.compression.brotli.compressor.v3 import Brotli
from envoy_data_plane.envoy.extensions.compression.gzip.compressor.v3 import Gzip
from envoy_data_plane.envoy.extensions.compression.zstd.compressor.v3 import Zstd
from envoy_data_plane.envoy.extensions.filters.http.compressor.v3 import (
    Compressor,
    CompressorCommonDirectionConfig,
    CompressorOverrides,
    CompressorPerRoute,
    CompressorResponseDirectionConfig,
)

from controlplane.resources import compression
from controlplane.translate.types import extension
from controlplane.translate.wire import number, packed, wire

LIBRARIES: dict[compression.Encoding, tuple[str, type[Message]]] = {
    "Gzip": ("gzip", Gzip),
    "Zstd": ("zstd", Zstd),
    "Brotli": ("brotli", Brotli),
}
MIN_BYTES = 256
"""Smaller answers are not worth it: they fit one packet as they are."""


def filters() -> Iterator[tuple[str, bytes]]:
    """The name and configuration of each filter."""
    for name, library in LIBRARIES.values():
        common = wire(CompressorCommonDirectionConfig, min_content_length=number(MIN_BYTES))
        response = wire(
            CompressorResponseDirectionConfig,
            common_config=common,
            weaken_etag_on_compress=True,
            uncompressible_response_codes=[206],
        )
        config = wire(
            Compressor,
            compressor_library=extension(name, packed(library)),
            response_direction_config=response,
            choose_first=True,
        )
        yield _filter(name), packed(Compressor, config)


def of_route(compressors: Sequence[compression.Compressor]) -> bytes:
    """The part of a Route."""
    on = packed(CompressorPerRoute, wire(CompressorPerRoute, overrides=wire(CompressorOverrides)))
    names = [_filter(LIBRARIES[one.type][0]) for one in compressors]
    return wire(Route, typed_per_filter_config=dict.fromkeys(names, on))


def _filter(library: str) -> str:
    return f"envoy.filters.http.compressor.{library}"
