"""What is taken away from a request before anything in Envoy looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyMutation,
)

from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire


def early(mutations: Sequence[bytes]) -> bytes:
    """The part of an HttpConnectionManager that does this to headers. Nothing, where there is
    nothing to do: every request would pay for it."""
    if not mutations:
        return b""
    config = packed(EarlyMutation, wire(EarlyMutation, mutations=mutations))
    name = "envoy.http.early_header_mutation.header_mutation"
    return wire(HttpConnectionManager, early_header_mutation_extensions=[extension(name, config)])
