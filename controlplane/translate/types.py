"""Names and pieces that every translator needs."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    TypedExtensionConfig,
)

from controlplane.translate.wire import wire

TYPE_PREFIX = "type.googleapis.com/"

CLUSTER = f"{TYPE_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINT = f"{TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{TYPE_PREFIX}envoy.config.listener.v3.Listener"
ROUTE = f"{TYPE_PREFIX}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{TYPE_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = f"{TYPE_PREFIX}envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = f"{TYPE_PREFIX}envoy.service.runtime.v3.Runtime"

FROM_ADS = wire(ConfigSource, ads=wire(AggregatedConfigSource), resource_api_version=ApiVersion.V3)
"""The resource comes over the aggregated stream."""


def extension(name: str, config: bytes) -> bytes:
    """An extension with its configuration, an `Any`."""
    return wire(TypedExtensionConfig, name=name, typed_config=config)
