"""What takes bytes from strangers, as functions of bytes. A target fails by raising.

Coverage-guided: `python -m tests.fuzz stream -max_total_time=600`. A short run of each is a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

from controlplane._pb.access_log_pb2 import StreamAccessLogsMessage
from controlplane._pb.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from controlplane._pb.load_stats_pb2 import LoadStatsRequest
from controlplane._pb.route_pb2 import Route, RouteAction, RouteConfiguration, VirtualHost
from controlplane.errors import TelemetryError
from controlplane.model import Endpoint, Proxy, ProxyId, Service, ServiceName
from controlplane.observe.in_process import InProcessSource
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.effects import Close, Send
from controlplane.xds.envelope import Decoder, GarbageError, response
from controlplane.xds.kinds import CLUSTER, ENDPOINT, KINDS, LISTENER, ROUTE
from controlplane.xds.references import (
    clusters_of_listener,
    clusters_of_routes,
    clusters_of_scope,
)
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream

if TYPE_CHECKING:
    from atheris import FuzzedDataProvider

GROUP = "group"
NAMES = ("a", "b", "*", "", "x" * 300)
URLS = (CLUSTER, ENDPOINT, LISTENER, ROUTE, *KINDS, "type.googleapis.com/made.Up", "")
BODIES = (b"", b"1", b"\n\x01a", b"\xff\xff")

Target = Callable[[bytes], None]


def decoder(data: bytes) -> None:
    """Requests off the wire, in both modes: a request, or `GarbageError`."""
    for mode in Mode:
        try:
            Decoder(mode).request(data)
        except GarbageError:
            continue


def stream(data: bytes) -> None:
    """A stream that is sent any sequence of requests and snapshots.

    It never raises, never has two responses of a type unanswered, and says what can be encoded.
    """
    import atheris

    given = atheris.FuzzedDataProvider(data)
    cache = SnapshotCache()
    cache.set(GROUP, _snapshot(given))
    mode = Mode.DELTA if given.ConsumeBool() else Mode.SOTW
    view = cache.view(GROUP)
    assert view is not None
    server, nonces, waiting = Stream(mode, view, max_names=8), [""], dict[str, str]()
    verb = "resource_names_subscribe" if mode is Mode.DELTA else "resource_names"
    read = Decoder(mode)
    for _ in range(24):
        if given.remaining_bytes() < 2:
            return
        kind = given.ConsumeIntInRange(0, 9)
        if kind == 0:
            cache.set(GROUP, _snapshot(given))
            view = cache.view(GROUP)
            assert view is not None
            effects = server.on_view(view)
        elif kind == 1:
            effects = server.on_deadline()
        else:
            raw = _request(given, mode, verb, nonces)
            request, _ = read.request(raw)
            if waiting.get(request.type_url) == request.nonce:
                del waiting[request.type_url]
            effects = server.on_request(request)
        for effect in effects:
            if isinstance(effect, Close):
                return
            if isinstance(effect, Send):
                assert effect.type_url not in waiting, "two responses without an answer"
                assert effect.nonce not in nonces, "a nonce twice"
                waiting[effect.type_url] = effect.nonce
                nonces.append(effect.nonce)
                response(mode, effect)
        server.status()


def _snapshot(given: FuzzedDataProvider) -> dict[str, dict[str, bytes]]:
    return {
        given.PickValueInList(list(URLS)): {
            given.PickValueInList(list(NAMES)): given.PickValueInList(list(BODIES))
            for _ in range(given.ConsumeIntInRange(0, 3))
        }
        for _ in range(given.ConsumeIntInRange(0, 5))
    }


def _request(given: FuzzedDataProvider, mode: Mode, verb: str, nonces: list[str]) -> bytes:
    request = DeltaDiscoveryRequest() if mode is Mode.DELTA else DiscoveryRequest()
    request.type_url = given.PickValueInList(list(URLS))
    request.response_nonce = given.PickValueInList([*nonces[-6:], "old"])
    for _ in range(given.ConsumeIntInRange(0, 3)):
        getattr(request, verb).append(given.PickValueInList(list(NAMES)))
    if isinstance(request, DeltaDiscoveryRequest):
        for _ in range(given.ConsumeIntInRange(0, 2)):
            request.resource_names_unsubscribe.append(given.PickValueInList(list(NAMES)))
        for _ in range(given.ConsumeIntInRange(0, 2)):
            request.initial_resource_versions[given.PickValueInList(list(NAMES))] = "1"
    if given.ConsumeIntInRange(0, 3) == 0:
        request.error_detail.message = "bad"
    return request.SerializeToString()


def references(data: bytes) -> None:
    """Resources off the library's door: names of clusters, or none."""
    for read in (clusters_of_routes, clusters_of_scope, clusters_of_listener):
        for name in read(data):
            assert name


def telemetry(data: bytes) -> None:
    """Access logs and load reports: counted, or `TelemetryError`; what is told stays finite."""
    now_s = 100.0
    source = InProcessSource(lambda: now_s)
    service = Service(ServiceName("default/a"), (Endpoint("127.0.0.1", 1),))
    source.declare([service])
    proxy = Proxy(ProxyId("envoy-1"))
    with contextlib.suppress(TelemetryError):
        source.access_logs.on_access_logs(proxy, data)
    for first in (True, False):
        with contextlib.suppress(TelemetryError):
            source.load_reports.on_load_report(proxy, data, first=first)
    registry = CollectorRegistry()
    registry.register(source.collector)
    for line in generate_latest(registry).splitlines():
        assert not line.endswith((b" NaN", b"Inf")), line


TARGETS: dict[str, Target] = {
    "decoder": decoder,
    "references": references,
    "stream": stream,
    "telemetry": telemetry,
}


def seeds() -> dict[str, list[bytes]]:
    """Well-formed bytes to begin from, by target."""
    logs = StreamAccessLogsMessage()
    entry = logs.http_logs.log_entry.add()
    entry.common_properties.upstream_cluster = "default/a"
    entry.common_properties.upstream_remote_address.socket_address.address = "127.0.0.1"
    entry.common_properties.upstream_remote_address.socket_address.port_value = 1
    entry.common_properties.time_to_first_upstream_tx_byte.nanos = 1_000_000
    entry.common_properties.time_to_last_upstream_rx_byte.nanos = 9_000_000
    entry.response.response_code.value = 200
    report = LoadStatsRequest()
    stats = report.cluster_stats.add(cluster_name="default/a")
    stats.load_report_interval.seconds = 1
    locality = stats.upstream_locality_stats.add()
    upstream = locality.upstream_endpoint_stats.add(total_successful_requests=5)
    upstream.address.socket_address.address = "127.0.0.1"
    upstream.address.socket_address.port_value = 1
    host = VirtualHost(name="all", routes=[Route(route=RouteAction(cluster="a"))])
    sotw = DiscoveryRequest(type_url=CLUSTER, resource_names=["a"], response_nonce="1")
    sotw.node.id = "envoy-1"
    delta = DeltaDiscoveryRequest(type_url=CLUSTER, resource_names_subscribe=["a"])
    delta.error_detail.message = "bad"
    return {
        "decoder": [sotw.SerializeToString(), delta.SerializeToString()],
        "references": [RouteConfiguration(virtual_hosts=[host]).SerializeToString()],
        "stream": [bytes(range(256))],
        "telemetry": [logs.SerializeToString(), report.SerializeToString()],
    }
