"""Who is let in on the xDS address, and as whom: on real sockets, with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grpc.experimental.session_cache import SSLSessionCache, ssl_session_cache_lru
from prometheus_client import CollectorRegistry

from controlplane._pb import access_log_pb2, base_pb2, load_stats_pb2
from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
)
from controlplane._pb.status_pb2 import ClientStatusResponse
from controlplane.errors import StartupError
from controlplane.model import Proxy
from controlplane.xds import Binding, Gate, Limits, SnapshotCache, Tls, XdsServer
from controlplane.xds.access_logs import AccessLogService
from controlplane.xds.csds import SERVICE as CLIENT_STATUS
from controlplane.xds.exposition import XdsCollector
from controlplane.xds.gate import DeniedError, Held
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from controlplane.xds.load_reports import LoadReportService
from controlplane.xds.status import Event, Refusal, Reload
from controlplane.xds.telemetry import TelemetryLimits, TelemetryMetrics
from controlplane.xds.tokens import Tokens
from tests.certificates import SERVER, Authority, Files, Issued, pem_key, pem_public, put
from tests.unit.xds.test_server import (
    ADS,
    DEADLINE_S,
    DELTA_ADS,
    EDS,
    answer,
    ask,
    filled,
    serving,
    until,
)

ALS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
LRS = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
RULE = "spiffe://example.org/ns/{namespace}/envoy/{node_id}"
CA = Authority()
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://issuer.test", "weir"
Status = grpc.StatusCode


def node(name: str = "envoy-1", cluster: str = "default/edge") -> base_pb2.Node:
    return base_pb2.Node(id=name, cluster=cluster)


def client_of(name: str, ca: Authority = CA) -> Issued:
    return ca.issue(uris=[f"spiffe://example.org/ns/default/envoy/{name}"])


def cached() -> SnapshotCache:
    cache = filled()
    cache.set("default/edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"1"}})
    return cache


def tls(folder: Path, *, mutual: bool = True) -> Tls:
    files = Files(folder).put(CA.server(), CA.pem)
    return Tls(files.certificate, files.key, files.ca if mutual else None)


def bound() -> Gate:
    return Gate(Binding.parse([RULE]))


def credentials(issued: Issued | None, ca: Authority = CA) -> grpc.ChannelCredentials:
    if issued is None:
        return grpc.ssl_channel_credentials(ca.pem)
    return grpc.ssl_channel_credentials(ca.pem, issued.key, issued.certificate)


@contextlib.asynccontextmanager
async def channel_to(
    server: XdsServer,
    issued: Issued | None,
    ca: Authority = CA,
    sessions: SSLSessionCache | None = None,
) -> AsyncIterator[Any]:
    """A connection of its own."""
    options: list[tuple[str, Any]] = [
        ("grpc.ssl_target_name_override", SERVER),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if sessions is not None:
        options.append(("grpc.ssl_session_cache", sessions))
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{server.port}", credentials(issued, ca), options=options
    ) as channel:
        yield channel


@contextlib.asynccontextmanager
async def plain_channel(server: XdsServer) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def opened(channel: Any, path: str = ADS, token: str | None = None) -> Any:  # noqa: ANN401
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else None
    return channel.stream_stream(path)(timeout=DEADLINE_S, metadata=metadata)


async def served(call: Any, as_node: base_pb2.Node | None = None) -> None:  # noqa: ANN401
    await ask(call, type_url=ENDPOINT, resource_names=["a"], node=as_node or node())
    found = await answer(call)
    assert [one.value for one in found.resources] == [b"1"]
    await ask(call, type_url=ENDPOINT, resource_names=["a"], response_nonce=found.nonce)


async def ends(
    call: Any,  # noqa: ANN401
    as_node: base_pb2.Node | None = None,
    *,
    delta: bool = False,
) -> tuple[Status, str]:
    """How a stream ends: with a node after its first request, without one before that.

    Who writes to a stream that is refused already may hear of an internal error of his own.
    """
    if as_node is not None:
        kind = DeltaDiscoveryRequest if delta else DiscoveryRequest
        await call.write(kind(type_url=ENDPOINT, node=as_node).SerializeToString())
    return await call.code(), await call.details()


async def test_who_asks_for_the_status_of_clients_is_told_of_those_that_he_may_be(
    tmp_path: Path,
) -> None:
    async def told(channel: Any) -> list[str]:  # noqa: ANN401
        fetch = channel.unary_unary(f"/{CLIENT_STATUS}/FetchClientStatus")
        answer = ClientStatusResponse.FromString(await fetch(b"", timeout=DEADLINE_S))
        return [one.node.id for one in answer.config]

    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound()) as server,
        channel_to(server, client_of("envoy-1")) as first,
        channel_to(server, client_of("envoy-2")) as second,
        channel_to(server, client_of("stranger")) as third,
    ):
        await served(opened(first), node("envoy-1"))
        await served(opened(second), node("envoy-2"))
        assert len(server.clients()) == 2
        assert [await told(one) for one in (first, second, third)] == [["envoy-1"], ["envoy-2"], []]


# --- certificates of clients ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [ADS, EDS])
async def test_a_node_with_its_own_certificate_is_served(tmp_path: Path, path: str) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound()) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        await served(opened(channel, path))


async def test_a_node_with_its_own_certificate_is_served_in_delta(tmp_path: Path) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound()) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        call = opened(channel, DELTA_ADS)
        asked = DeltaDiscoveryRequest(
            type_url=ENDPOINT, resource_names_subscribe=["a"], node=node()
        )
        await call.write(asked.SerializeToString())
        found = DeltaDiscoveryResponse.FromString(await call.read())
        assert found.resources[0].resource.value == b"1"


@pytest.mark.parametrize("path", [ADS, DELTA_ADS, EDS])
@pytest.mark.parametrize(
    "claimed", [node("envoy-2"), node(cluster="other/edge"), node(cluster="edge"), node("")]
)
async def test_a_node_that_claims_what_its_certificate_does_not_entitle_it_to_is_denied(
    tmp_path: Path, path: str, claimed: base_pb2.Node
) -> None:
    events: list[Event] = []
    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound(), observer=events.append) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        code, words = await ends(opened(channel, path), claimed, delta=path == DELTA_ADS)
        assert code is Status.PERMISSION_DENIED
        assert "spiffe://example.org/ns/default/envoy/envoy-1 does not entitle" in words
        assert "--xds-identity" in words
        assert server.counts.refused == {"PERMISSION_DENIED": 1}
        assert server.counts.connects == 0
        (event,) = events
        assert isinstance(event, Refusal)
        assert event.node is not None
        assert (event.code, event.node.id) == ("PERMISSION_DENIED", claimed.id)


async def test_a_denial_leaves_the_other_streams_of_the_connection_alone(tmp_path: Path) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound()) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        good = opened(channel)
        await served(good)
        assert (await ends(opened(channel), node("envoy-2")))[0] is Status.PERMISSION_DENIED
        await ask(good, type_url=CLUSTER)
        assert (await answer(good)).resources


async def test_a_certificate_without_a_name_is_unauthenticated_where_names_are_wanted(
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    async with (
        serving(cached(), tls=tls(tmp_path), gate=bound(), observer=events.append) as server,
        channel_to(server, CA.issue()) as channel,
    ):
        code, words = await ends(opened(channel))
        assert code is Status.UNAUTHENTICATED
        assert "subject alternative name" in words
        assert server.counts.refused == {"UNAUTHENTICATED": 1}
        assert isinstance(events[0], Refusal)


@pytest.mark.parametrize("issued", [CA.issue(), client_of("somebody"), CA.issue(dns=["x.test"])])
async def test_without_a_rule_every_certificate_of_the_ca_may_be_any_node(
    tmp_path: Path, issued: Issued
) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path)) as server,
        channel_to(server, issued) as channel,
    ):
        await served(opened(channel))


@pytest.mark.parametrize(
    "issued", [None, client_of("envoy-1", Authority("stranger")), CA.issue(starts_h=-2, ends_h=-1)]
)
async def test_without_a_good_certificate_of_the_ca_there_is_no_connection(
    tmp_path: Path, issued: Issued | None
) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path)) as server,
        channel_to(server, issued) as channel,
    ):
        assert (await ends(opened(channel)))[0] is Status.UNAVAILABLE
        assert server.counts.connects == 0


async def test_plaintext_is_not_spoken_where_tls_is(tmp_path: Path) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path, mutual=False)) as server,
        plain_channel(server) as channel,
    ):
        assert (await ends(opened(channel)))[0] is Status.UNAVAILABLE


async def test_without_a_client_ca_no_certificate_is_wanted(tmp_path: Path) -> None:
    async with (
        serving(cached(), tls=tls(tmp_path, mutual=False)) as server,
        channel_to(server, None) as channel,
    ):
        await served(opened(channel))


async def test_an_expired_certificate_does_not_live_on_in_a_resumed_session(tmp_path: Path) -> None:
    later = Gate(wall_clock=lambda: time.time() + 2 * 3600)
    sessions = ssl_session_cache_lru(4)
    async with serving(cached(), tls=tls(tmp_path), gate=later) as server:
        async with channel_to(server, client_of("envoy-1"), sessions=sessions) as channel:
            await served(opened(channel))  # the handshake verified it
        async with channel_to(server, client_of("envoy-1"), sessions=sessions) as channel:
            code, words = await ends(opened(channel))
            assert code is Status.UNAUTHENTICATED
            assert "resumed session has expired" in words


async def test_a_token_does_not_make_up_for_an_expired_certificate(tmp_path: Path) -> None:
    later_s = time.time() + 2 * 3600
    gate = Gate(tokens=tokens(tmp_path), wall_clock=lambda: later_s)
    token = token_of(OURS, exp=int(later_s) + 600)
    sessions = ssl_session_cache_lru(4)
    async with serving(cached(), tls=tls(tmp_path), gate=gate) as server:
        async with channel_to(server, client_of("envoy-1"), sessions=sessions) as channel:
            await served(opened(channel, token=token))
        async with channel_to(server, client_of("envoy-1"), sessions=sessions) as channel:
            code, words = await ends(opened(channel, token=token))
            assert code is Status.UNAUTHENTICATED
            assert "resumed session has expired" in words


async def test_a_session_of_a_good_certificate_is_resumed(tmp_path: Path) -> None:
    sessions = ssl_session_cache_lru(4)
    async with serving(cached(), tls=tls(tmp_path), gate=bound()) as server:
        for _ in range(2):
            async with channel_to(server, client_of("envoy-1"), sessions=sessions) as channel:
                await served(opened(channel))


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_connection_that_is_not_set_up_is_closed(tmp_path: Path, encrypted: bool) -> None:
    chosen = tls(tmp_path) if encrypted else None
    async with serving(cached(), tls=chosen, limits=Limits(handshake_s=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                while await reader.read(1024):
                    pass
        writer.close()


# --- new files -----------------------------------------------------------------------------------


async def test_a_new_certificate_is_for_new_connections_and_drops_no_stream(tmp_path: Path) -> None:
    new = Authority("new")
    cache, both = cached(), CA.pem + new.pem
    async with serving(cache, tls=tls(tmp_path), gate=bound()) as server:
        put(tmp_path / "ca.crt", both)
        async with (
            channel_to(server, client_of("envoy-1")) as before,
            channel_to(server, client_of("envoy-2", new), new) as after,
        ):
            old_stream = opened(before)
            await served(old_stream)
            Files(tmp_path).put(new.server(), both)
            await served(opened(after), node("envoy-2"))
            async with channel_to(server, client_of("envoy-3"), CA) as distrustful:
                assert (await ends(opened(distrustful)))[0] is Status.UNAVAILABLE
            cache.set("default/edge", {CLUSTER: {"a": b""}, ENDPOINT: {"a": b"2"}})
            assert [one.value for one in (await answer(old_stream)).resources] == [b"2"]
            assert len(server.clients()) == 2


async def test_a_ca_that_is_taken_away_is_not_trusted_in_new_connections(tmp_path: Path) -> None:
    new = Authority("new")
    async with serving(cached(), tls=tls(tmp_path)) as server:
        issued, sessions = client_of("envoy-1"), ssl_session_cache_lru(4)
        async with channel_to(server, issued, sessions=sessions) as channel:
            await served(opened(channel))
        put(tmp_path / "ca.crt", new.pem)  # no session of before is resumed either
        async with channel_to(server, issued, sessions=sessions) as channel:
            assert (await ends(opened(channel)))[0] is Status.UNAVAILABLE
        async with channel_to(server, client_of("envoy-1", new)) as channel:
            await served(opened(channel))


def metric(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


async def test_broken_new_files_are_told_of_and_the_old_ones_go_on_serving(tmp_path: Path) -> None:
    events: list[Event] = []
    registry = CollectorRegistry()
    options: dict[str, Any] = {"limits": Limits(look_s=0.02), "observer": events.append}
    async with serving(cached(), tls=tls(tmp_path), **options) as server:
        registry.register(XdsCollector(server))
        assert metric(registry, "weir_xds_credentials_refused", files="tls") == 0.0
        put(tmp_path / "tls.crt", b"broken")
        await until(lambda: len(events) == 1)
        (event,) = events
        assert isinstance(event, Reload)
        assert event.what == "tls"
        assert "tls.crt: holds no certificate" in event.problem
        assert metric(registry, "weir_xds_credentials_refused", files="tls") == 1.0
        async with channel_to(server, client_of("envoy-1")) as channel:
            await served(opened(channel))
        Files(tmp_path).put(CA.server(), CA.pem)
        await until(lambda: events[-1] == Reload("tls", ""))
        assert metric(registry, "weir_xds_credentials_refused", files="tls") == 0.0
        assert metric(registry, "weir_xds_credentials_reloads_total", files="tls") == 1.0


async def test_the_metric_says_how_long_the_certificate_is_good(tmp_path: Path) -> None:
    async with serving(cached(), tls=tls(tmp_path)) as server:
        registry = CollectorRegistry()
        expires_at_s = server.files[0].value.expires_at_s
        registry.register(XdsCollector(server, lambda: expires_at_s - 90.0))
        assert metric(registry, "weir_xds_certificate_expiry_seconds") == pytest.approx(90.0)


# --- what does not start -------------------------------------------------------------------------


async def test_tls_lets_an_address_that_others_can_reach_be_served(tmp_path: Path) -> None:
    server = XdsServer(cached(), address="0.0.0.0:0", tls=tls(tmp_path))
    await server.start()
    try:
        async with channel_to(server, client_of("envoy-1")) as channel:
            await served(opened(channel))
    finally:
        await server.stop(0)


async def test_without_tls_the_refusal_of_such_an_address_names_the_options() -> None:
    with pytest.raises(StartupError, match=r"--tls-cert.*--insecure"):
        await XdsServer(SnapshotCache(), address="0.0.0.0:0").start()


async def test_a_bad_certificate_does_not_start(tmp_path: Path) -> None:
    chosen = tls(tmp_path)
    put(tmp_path / "tls.key", b"broken")
    with pytest.raises(StartupError, match=r"tls\.key: holds no private key"):
        await XdsServer(SnapshotCache(), address="127.0.0.1:0", tls=chosen).start()


async def test_identities_that_nobody_can_prove_do_not_start(tmp_path: Path) -> None:
    for chosen in (None, tls(tmp_path, mutual=False)):
        server = XdsServer(SnapshotCache(), address="127.0.0.1:0", tls=chosen, gate=bound())
        with pytest.raises(StartupError, match="--tls-client-ca"):
            await server.start()


async def test_tokens_in_plaintext_do_not_start_where_others_can_listen(tmp_path: Path) -> None:
    gate = Gate(tokens=tokens(tmp_path))
    server = XdsServer(SnapshotCache(), address="0.0.0.0:0", insecure=True, gate=gate)
    with pytest.raises(StartupError, match="plaintext"):
        await server.start()


# --- tokens --------------------------------------------------------------------------------------


def tokens(folder: Path) -> Tokens:
    return Tokens(ISSUER, AUDIENCE, put(folder / "jwt.pem", pem_public(KEY)))


def token_of(name: str, **changed: object) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600, "sub": name, **changed}
    return jwt.encode(claims, pem_key(KEY), "ES256")


JWT_RULE = "envoy:{namespace}:{node_id}"
OURS = "envoy:default:envoy-1"


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_token_is_taken_over_tls_and_on_loopback(tmp_path: Path, encrypted: bool) -> None:
    gate = Gate(Binding.parse([JWT_RULE]), tokens(tmp_path))
    chosen = tls(tmp_path, mutual=False) if encrypted else None
    async with serving(cached(), tls=chosen, gate=gate) as server:
        connect = channel_to(server, None) if encrypted else plain_channel(server)
        async with connect as channel:
            await served(opened(channel, token=token_of(OURS)))
            code, words = await ends(opened(channel, token=token_of(OURS)), node("envoy-2"))
            assert code is Status.PERMISSION_DENIED
            assert OURS in words


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer nonsense"),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic YTpi"),),
        (("authorization", token_of(OURS)),),
        (("authorization", f"Bearer {token_of(OURS, aud='other')}"),),
        (("authorization", f"Bearer {token_of(OURS)}"), ("authorization", "Bearer x")),
    ],
)
async def test_a_missing_or_bad_token_is_unauthenticated(
    tmp_path: Path, metadata: tuple[tuple[str, str], ...]
) -> None:
    events: list[Event] = []
    gate = Gate(tokens=tokens(tmp_path))
    async with (
        serving(cached(), gate=gate, observer=events.append) as server,
        plain_channel(server) as channel,
    ):
        call = channel.stream_stream(ADS)(timeout=DEADLINE_S, metadata=metadata)
        assert await call.code() is Status.UNAUTHENTICATED
        assert server.counts.refused == {"UNAUTHENTICATED": 1}
        assert isinstance(events[0], Refusal)


@pytest.mark.parametrize("path", [ADS, LRS, ALS])
async def test_a_stream_ends_when_its_token_does(tmp_path: Path, path: str) -> None:
    expires = int(time.time()) + 600
    gate = Gate(tokens=tokens(tmp_path), wall_clock=lambda: expires - 1.0)
    async with (
        telemetry(gate) as (handlers, _),
        serving(cached(), gate=gate, handlers=handlers) as server,
        plain_channel(server) as channel,
    ):
        call = opened(channel, path, token_of(OURS, exp=expires))
        if path == ADS:
            await served(call)
        else:
            await call.write(hello(path, node()))
        if path == LRS:
            await call.read()
        assert await call.code() is Status.UNAUTHENTICATED
        assert "expired" in await call.details()
        await until(lambda: not server.clients())


async def test_a_new_key_of_tokens_is_taken_without_a_restart(tmp_path: Path) -> None:
    new = ec.generate_private_key(ec.SECP256R1())
    events: list[Event] = []
    options: dict[str, Any] = {"limits": Limits(look_s=0.02), "observer": events.append}
    async with (
        serving(cached(), gate=Gate(tokens=tokens(tmp_path)), **options) as server,
        plain_channel(server) as channel,
    ):
        await served(opened(channel, token=token_of(OURS)))
        put(tmp_path / "jwt.pem", pem_public(new))
        await until(lambda: Reload("jwt", "") in events)
        claims = jwt.decode(token_of(OURS), options={"verify_signature": False})
        await served(opened(channel, token=jwt.encode(claims, new, "ES256")))
        assert (await ends(opened(channel, token=token_of(OURS))))[0] is Status.UNAUTHENTICATED


async def test_with_both_a_token_speaks_for_a_client_and_without_one_its_certificate(
    tmp_path: Path,
) -> None:
    gate = Gate(Binding.parse([RULE, JWT_RULE]), tokens(tmp_path))
    async with (
        serving(cached(), tls=tls(tmp_path), gate=gate) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        await served(opened(channel))
        await served(opened(channel, token=token_of("envoy:default:envoy-2")), node("envoy-2"))
        call = opened(channel, token=token_of("envoy:default:envoy-2"))
        assert (await ends(call, node("envoy-1")))[0] is Status.PERMISSION_DENIED
        assert (await ends(opened(channel, token="x")))[0] is Status.UNAUTHENTICATED


# --- how many, and for how long ------------------------------------------------------------------


async def test_one_name_has_so_many_streams_over_all_its_connections(tmp_path: Path) -> None:
    options: dict[str, Any] = {"tls": tls(tmp_path), "limits": Limits(streams_per_identity=2)}
    async with (
        serving(cached(), **options) as server,
        channel_to(server, client_of("envoy-1")) as one,
        channel_to(server, client_of("envoy-1")) as two,
        channel_to(server, client_of("envoy-2")) as other,
    ):
        first = opened(one)
        await served(first)
        await served(opened(two, EDS))
        for channel in (one, two):
            code, words = await ends(opened(channel))
            assert code is Status.RESOURCE_EXHAUSTED
            assert "envoy/envoy-1 has 2 streams open" in words
        assert server.counts.refused == {"RESOURCE_EXHAUSTED": 2}
        await served(opened(other))
        first.cancel()
        await until(lambda: len(server.clients()) == 2)
        await served(opened(two))


def test_who_has_no_stream_open_is_forgotten() -> None:
    held = Held(2)
    with held.one_more("a"), held.one_more("a"), held.one_more("b"):
        with pytest.raises(DeniedError, match="a has 2 streams open"), held.one_more("a"):
            raise AssertionError("a third stream was let in")
        assert held.peers == 2
    assert held.peers == 0


async def test_where_nobody_proves_a_name_the_address_counts_without_its_port() -> None:
    async with (
        serving(cached(), limits=Limits(streams_per_identity=1)) as server,
        plain_channel(server) as one,
        channel_of_its_own(server) as two,
    ):
        await served(opened(one))
        code, words = await ends(opened(two))
        assert code is Status.RESOURCE_EXHAUSTED
        assert "ipv4:127.0.0.1 has 1 streams" in words


@contextlib.asynccontextmanager
async def channel_of_its_own(server: XdsServer) -> AsyncIterator[Any]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def test_a_stream_that_says_nothing_counts_too() -> None:
    async with (
        serving(cached(), limits=Limits(streams_per_identity=1)) as server,
        plain_channel(server) as channel,
    ):
        silent = [asyncio.create_task(opened(channel).code()) for _ in range(2)]
        ended, open_still = await asyncio.wait(silent, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result() for one in ended] == [Status.RESOURCE_EXHAUSTED]
        for one in open_still:
            one.cancel()


async def test_a_connection_of_the_greatest_age_is_closed_and_its_client_comes_back() -> None:
    limits = Limits(connection_age_s=1.0, connection_grace_s=0.1)
    async with (
        serving(cached(), limits=limits) as server,
        plain_channel(server) as channel,
    ):
        call = opened(channel)
        await served(call)
        assert await call.code() is Status.UNAVAILABLE
        assert "max connection age" in await call.details()
        await until(lambda: not server.clients())
        await served(opened(channel))


# --- access logs and load reports ----------------------------------------------------------------


class Sink:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        self.heard.append(proxy.id)

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        self.heard.append(proxy.id)


class Heard:
    def __init__(self) -> None:
        self.sink = Sink()
        self.events: list[Event] = []
        self.registry = CollectorRegistry()

    def closed(self, service: str, reason: str) -> float | None:
        name = "weir_telemetry_streams_closed_total"
        return metric(self.registry, name, service=service, reason=reason)


@contextlib.asynccontextmanager
async def telemetry(
    gate: Gate, limits: TelemetryLimits | None = None
) -> AsyncIterator[tuple[list[grpc.GenericRpcHandler[bytes, bytes]], Heard]]:
    heard = Heard()
    metrics = TelemetryMetrics(heard.registry)
    shared: dict[str, Any] = {"gate": gate, "observer": heard.events.append, "limits": limits}
    yield (
        [
            AccessLogService(heard.sink, metrics, **shared).handler(),
            LoadReportService(heard.sink, metrics, **shared).handler(),
        ],
        heard,
    )


def hello(path: str, said: base_pb2.Node) -> bytes:
    if path == LRS:
        return load_stats_pb2.LoadStatsRequest(node=said).SerializeToString()
    message = access_log_pb2.StreamAccessLogsMessage()
    message.identifier.node.CopyFrom(said)
    return message.SerializeToString()


REPORTS = pytest.mark.parametrize(
    ("path", "service"), [(ALS, "access_logs"), (LRS, "load_reports")]
)


@REPORTS
async def test_a_node_reports_as_itself(tmp_path: Path, path: str, service: str) -> None:
    gate = bound()
    async with (
        telemetry(gate) as (handlers, heard),
        serving(cached(), tls=tls(tmp_path), gate=gate, handlers=handlers) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        await opened(channel, path).write(hello(path, node()))
        await until(lambda: heard.sink.heard == ["envoy-1"])


@REPORTS
async def test_a_node_may_not_report_as_another(tmp_path: Path, path: str, service: str) -> None:
    gate = bound()
    async with (
        telemetry(gate) as (handlers, heard),
        serving(cached(), tls=tls(tmp_path), gate=gate, handlers=handlers) as server,
        channel_to(server, client_of("envoy-1")) as channel,
    ):
        for claimed in (node("envoy-2"), node(cluster="other/edge")):
            call = opened(channel, path)
            await call.write(hello(path, claimed))
            assert await call.code() is Status.PERMISSION_DENIED
        assert heard.sink.heard == []
        assert heard.closed(service, "denied") == 2.0
        assert [one.node.id for one in heard.events if isinstance(one, Refusal) and one.node] == [
            "envoy-2",
            "envoy-1",
        ]


@REPORTS
async def test_a_reporter_without_a_name_is_unauthenticated(
    tmp_path: Path, path: str, service: str
) -> None:
    gate = bound()
    async with (
        telemetry(gate) as (handlers, heard),
        serving(cached(), tls=tls(tmp_path), gate=gate, handlers=handlers) as server,
        channel_to(server, CA.issue()) as channel,
    ):
        assert await opened(channel, path).code() is Status.UNAUTHENTICATED
        assert heard.closed(service, "unauthenticated") == 1.0
        assert len(heard.events) == 1


@REPORTS
async def test_one_name_has_so_many_streams_of_reports(path: str, service: str) -> None:
    limits = TelemetryLimits(streams_per_identity=1)
    async with (
        telemetry(Gate(), limits) as (handlers, heard),
        serving(cached(), handlers=handlers) as server,
        plain_channel(server) as channel,
    ):
        first = opened(channel, path)
        await first.write(hello(path, node()))
        await until(lambda: heard.sink.heard == ["envoy-1"])
        assert await opened(channel, path).code() is Status.RESOURCE_EXHAUSTED
        assert heard.closed(service, "identity_streams") == 1.0
