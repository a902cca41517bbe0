"""Rules 1 to 12 of docs/xds.md, as far as they are the state machine's."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.config.core.v3 import HttpUri, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import (
    JwtAuthentication,
    JwtProvider,
    RemoteJwks,
)
from envoy_data_plane.google.protobuf import Any as PackedAny

from controlplane._pb.cluster_pb2 import Cluster
from controlplane._pb.discovery_pb2 import Any
from controlplane._pb.route_pb2 import (
    Filter,
    FilterChain,
    Listener,
    Route,
    RouteAction,
    RouteConfiguration,
    TcpProxy,
    VirtualHost,
)
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.kinds import CLUSTER
from controlplane.xds.steps import Mode
from tests.unit.xds.session import Session

JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"


@pytest.fixture(params=list(Mode))
def mode(request: pytest.FixtureRequest) -> Mode:
    return Mode(request.param)


def started(mode: Mode) -> Session:
    """A client that has clusters, endpoints, listeners and routes."""
    one = {"a": "1"}
    session = Session(mode, cds=one, eds=one, lds={"in": "1"}, rds={"routes": "1"})
    session.ask("cds")
    session.ask("eds", "a")
    session.ask("lds")
    session.ask("rds", "routes")
    session.ack("cds")
    for name, key in (("eds", "a"), ("rds", "routes")):
        session.ack(name, *(key,) if mode is Mode.SOTW else ())
    session.ack("lds")
    return session


def test_rule_01_nonces_are_unique_on_a_stream_and_an_ack_is_not_answered(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, eds={"a": "1"}, lds={})
    assert session.ask("cds") == ["send cds a=1"]
    assert session.ask("eds", "a") == ["send eds a=1"]
    session.ask("lds")
    assert session.ack("cds") == ["acked cds"]
    assert session.ack("eds", *(["a"] if mode is Mode.SOTW else [])) == ["acked eds"]
    for body in ("2", "1", "2", "1"):  # back and forth between two versions
        session.set(cds={"a": body})
        session.ack("cds")
        session.ack("eds", *(["a"] if mode is Mode.SOTW else []))
    nonces = [send.nonce for send in session.sent]
    assert len(nonces) == 3 + 4 + 4
    assert all(nonces)
    assert len(set(nonces)) == len(nonces)


def test_rule_03_an_unknown_type_is_counted_and_disturbs_nothing(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"})
    assert session.ask("Strange", "x") == ["unknown Strange"]
    assert session.ask("cds") == ["send cds a=1"]
    assert session.ack("cds") == ["acked cds"]
    assert session.ask("Strange", "x", "y") == []
    assert session.set(Strange={"x": "1"}) == ["send Strange x=1" + missing(mode, "y")]


def missing(mode: Mode, name: str) -> str:
    return f" -{name}" if mode is Mode.DELTA else ""


def test_rule_03_a_type_that_vanishes_from_the_snapshot_is_left_alone(mode: Mode) -> None:
    session = started(mode)
    assert session.forget("cds") == []
    assert session.set(cds={"a": "1"}) == []


def test_rule_04_refused_content_is_not_sent_again_and_the_next_different_one_is(
    mode: Mode,
) -> None:
    session = started(mode)
    names = ["a"] if mode is Mode.SOTW else []
    assert session.set(eds={"a": "bad"}) == ["send eds a=bad"]
    assert session.nack("eds", *names) == ["nacked eds bad"]
    assert session.nack("eds", *names) == []  # it is said once
    assert session.set(eds={"a": "bad", "b": "1"}) == []
    assert session.set(eds={"a": "1"}) == ["send eds a=1"]
    assert session.ack("eds", *names) == ["acked eds"]
    assert session.set(eds={"a": "bad"}) == []
    assert session.set(eds={"a": "good"}) == ["send eds a=good"]


def test_rule_04_a_refused_set_of_clusters_is_not_sent_again(mode: Mode) -> None:
    session = started(mode)
    assert session.set(cds={"a": "bad"}) == ["send cds a=bad", "send eds a=1"]
    assert session.nack("cds") == ["nacked cds bad"]
    assert session.set(cds={"a": "1"}) == ["send cds a=1"]
    assert session.ack("cds") == ["acked cds"]
    assert session.set(cds={"a": "bad"}) == []
    (status, *_) = session.stream.status()
    assert (status.sent_version, status.nack) == (status.acked_version, "")


def test_rule_04_a_refusal_does_not_hold_back_the_neighbours(mode: Mode) -> None:
    session = Session(mode, eds={"a": "1", "b": "1"})
    session.ask("eds", "a", "b")
    names = ["a", "b"] if mode is Mode.SOTW else []
    session.ack("eds", *names)
    assert session.set(eds={"a": "bad", "b": "1"}) == ["send eds a=bad"]
    session.nack("eds", *names)
    assert session.set(eds={"a": "bad", "b": "2"}) == ["send eds b=2"]


def test_rule_04_what_was_refused_together_is_tried_apart(mode: Mode) -> None:
    first = {"a": "1", "b": "1", "bad": "bad", "c": "1", "d": "1"}
    names = list(first)
    session = Session(mode, eds=first)
    assert session.ask("eds", *names) == ["send eds a=1 b=1 bad=bad c=1 d=1"]
    listed = names if mode is Mode.SOTW else []
    assert session.nack("eds", *listed) == ["nacked eds bad", "send eds a=1 b=1 bad=bad"]
    assert session.nack("eds", *listed) == ["nacked eds bad", "send eds a=1 b=1"]
    assert session.ack("eds", *listed) == ["acked eds", "send eds c=1 d=1"]  # bad is known by now
    assert session.ack("eds", *listed) == ["acked eds"]
    assert session.set(eds=first) == []
    assert session.set(eds={**first, "a": "2"}) == ["send eds a=2"]
    assert session.ack("eds", *listed) == ["acked eds"]
    assert session.stream.status()[0].nack == "bad"
    worse = {**first, "a": "3", "b": "3", "bad": "worse"}
    assert session.set(eds=worse) == ["send eds a=3 b=3"]
    assert session.ack("eds", *listed) == ["acked eds", "send eds bad=worse"]
    assert session.nack("eds", *listed) == ["nacked eds bad"]
    fixed = {**worse, "bad": "good"}
    assert session.set(eds=fixed) == ["send eds bad=good"]
    assert session.ack("eds", *listed) == ["acked eds"]
    assert session.stream.status()[0].nack == ""
    assert session.set(eds={**fixed, "bad": "worse"}) == []
    assert session.set(eds={**fixed, "a": "4", "bad": "best"}) == ["send eds a=4 bad=best"]


def test_rule_05_unchanged_content_is_not_pushed(mode: Mode) -> None:
    session = started(mode)
    assert session.set(eds={"a": "1"}, cds={"a": "1"}) == []


def test_rule_05_equal_content_has_an_equal_version_on_every_replica() -> None:
    one, other = SnapshotCache(), SnapshotCache()
    one.set("g", {CLUSTER: {"a": b"1", "b": b"2"}})
    other.set("x", {CLUSTER: {"c": b"9"}})
    other.set("g", {CLUSTER: {"b": b"7", "z": b"1"}})
    other.set("g", {CLUSTER: {"b": b"2", "a": b"1"}})
    assert one.version("g", CLUSTER) == other.version("g", CLUSTER) != ""
    other.set("g", {CLUSTER: {"b": b"1", "a": b"2"}})
    assert one.version("g", CLUSTER) != other.version("g", CLUSTER)


def test_rule_05_only_content_that_changed_is_new_in_the_cache() -> None:
    cache = SnapshotCache()
    cache.set("g", {CLUSTER: {"a": b"1", "b": b"2"}})
    before = cache.view("g")
    assert before is not None
    assert not cache.set("g", {CLUSTER: {"a": b"1", "b": b"2"}})
    assert cache.view("g") is before
    assert cache.set("g", {CLUSTER: {"a": b"1", "b": b"3"}})
    after = cache.view("g")
    assert after is not None
    assert after[CLUSTER].by_name["a"] is before[CLUSTER].by_name["a"]


def test_rule_06_one_change_goes_out_in_the_order_of_the_types(mode: Mode) -> None:
    session = started(mode)
    two = {"a": "2"}
    assert session.set(rds={"routes": "2"}, lds={"in": "2"}, eds=two, cds=two) == [
        "send cds a=2",
        "send eds a=2",
        "send lds in=2",
        "send rds routes=2",
    ]


def test_rule_06_a_cluster_is_removed_after_the_routes_to_it(mode: Mode) -> None:
    session = started(mode)
    names = ["routes"] if mode is Mode.SOTW else []
    kept = " a=1" if mode is Mode.SOTW else ""
    assert session.set(cds={"b": "1"}, rds={"routes": "to b"}) == [
        f"send cds b=1{kept}",
        "send rds routes=to b",
    ]
    assert session.ack("cds") == ["acked cds"]
    removal = "send cds b=1" if mode is Mode.SOTW else "send cds -a"
    assert session.ack("rds", *names) == ["acked rds", removal]


def test_rule_06_a_cluster_stays_while_the_routes_that_replace_it_are_refused(mode: Mode) -> None:
    session = started(mode)
    names = ["routes"] if mode is Mode.SOTW else []
    session.set(cds={"b": "1"}, rds={"routes": "bad"})
    session.ack("cds")
    assert session.nack("rds", *names) == ["nacked rds bad"]
    session.set(rds={"routes": "to b"})
    removal = "send cds b=1" if mode is Mode.SOTW else "send cds -a"
    assert session.ack("rds", *names) == ["acked rds", removal]


def test_rule_06_a_removal_alone_goes_out_at_once(mode: Mode) -> None:
    session = started(mode)
    removal = "send cds" if mode is Mode.SOTW else "send cds -a"
    assert session.set(cds={}) == [removal]


def test_rule_06_routes_wait_for_clusters_that_could_not_be_sent_yet(mode: Mode) -> None:
    session = started(mode)
    assert session.set(cds={"a": "2"}) == ["send cds a=2", "send eds a=1"]
    assert session.set(cds={"a": "3"}, rds={"routes": "2"}) == []
    acked = session.ack("cds")
    assert [line for line in acked if "eds" not in line] == [
        "acked cds",
        "send cds a=3",
        "send rds routes=2",
    ]


def to(*clusters: str) -> str:
    """A route configuration that sends to these, as text."""
    routes = [Route(route=RouteAction(cluster=one)) for one in clusters]
    host = VirtualHost(name="all", routes=routes)
    return RouteConfiguration(name="routes", virtual_hosts=[host]).SerializeToString().decode()


def serving_a(mode: Mode) -> Session:
    """A client that has cluster a, and routes to it beside others that name nothing."""
    routes = {"routes": to("a"), "others": "1"}
    session = Session(mode, cds={"a": "1"}, eds={"a": "1"}, rds=routes)
    session.ask("cds")
    session.ask("eds", "a")
    session.ack("cds")
    session.ask("rds", "routes", "others")
    for name, keys in (("eds", ["a"]), ("rds", ["routes", "others"])):
        session.ack(name, *keys if mode is Mode.SOTW else ())
    return session


def of(session: Session, name: str, lines: list[str]) -> list[str]:
    """Names of what was sent of a type."""
    sent = [line.split()[2:] for line in lines if line.startswith(f"send {name}")]
    return [part.partition("=")[0] for parts in sent for part in parts if "=" in part]


def test_rule_06_a_route_waits_for_the_ack_of_the_clusters_that_it_newly_names(mode: Mode) -> None:
    session = serving_a(mode)
    both = {"a": "1", "b": "1"}
    told = session.set(cds=both, eds=both, rds={"routes": to("a", "b"), "others": "2"})
    assert of(session, "cds", told) == (["a", "b"] if mode is Mode.SOTW else ["b"])
    assert of(session, "rds", told) == ["others"]
    assert of(session, "rds", session.ack("rds", *names_of_routes(mode))) == []
    assert session.stream.awaits()
    assert of(session, "rds", session.ack("cds")) == ["routes"]
    assert not session.stream.awaits()


def names_of_routes(mode: Mode) -> list[str]:
    return ["routes", "others"] if mode is Mode.SOTW else []


def test_rule_06_a_route_does_not_wait_for_a_cluster_that_only_changed(mode: Mode) -> None:
    session = serving_a(mode)
    told = session.set(cds={"a": "2"}, rds={"routes": to("a", "nowhere"), "others": "1"})
    assert of(session, "rds", told) == ["routes"]


def test_rule_06_a_route_waits_no_longer_than_its_deadline(mode: Mode) -> None:
    session = serving_a(mode)
    session.set(cds={"a": "1", "b": "1"}, rds={"routes": to("b"), "others": "1"})
    assert of(session, "rds", session.told(session.stream.on_deadline())) == ["routes"]
    assert not session.stream.awaits()


def test_rule_06_a_route_stays_as_it_was_while_its_new_cluster_is_refused(mode: Mode) -> None:
    session = serving_a(mode)
    session.set(cds={"a": "1", "b": "bad"}, rds={"routes": to("b"), "others": "1"})
    assert of(session, "rds", session.nack("cds")) == []
    assert of(session, "rds", session.told(session.stream.on_deadline())) == []
    told = session.set(cds={"a": "1", "b": "good"})
    assert of(session, "rds", told) == []
    assert of(session, "rds", session.ack("cds")) == ["routes"]


def test_rule_06_a_client_without_routes_gets_them_though_it_refused_the_clusters(
    mode: Mode,
) -> None:
    session = Session(mode, cds={"b": "bad"}, rds={"routes": to("b")})
    session.ask("cds")
    assert of(session, "rds", session.ask("rds", "routes")) == []
    assert of(session, "rds", session.nack("cds")) == ["routes"]


def test_rule_06_a_listener_with_routes_inside_waits_too(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, lds={"in": listening("a")})
    session.ask("cds")
    session.ack("cds")
    session.ask("lds")
    session.ack("lds")
    told = session.set(cds={"a": "1", "b": "1"}, lds={"in": listening("b")})
    assert of(session, "lds", told) == []
    assert of(session, "lds", session.ack("cds")) == ["in"]


def test_rule_06_the_configuration_of_a_filter_waits_too(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, ecds={"jwt": believing("a")})
    session.ask("cds")
    session.ack("cds")
    session.ask("ecds", "jwt")
    session.ack("ecds", *(["jwt"] if mode is Mode.SOTW else []))
    told = session.set(cds={"a": "1", "b": "1"}, ecds={"jwt": believing("b")})
    assert of(session, "ecds", told) == []
    assert of(session, "ecds", session.ack("cds")) == ["jwt"]


def test_rule_06_routes_wait_with_the_configuration_of_a_filter(mode: Mode) -> None:
    for answer, sent in (("ack", ["jwt"]), ("nack", [])):
        session = Session(mode, cds={"a": "1"}, ecds={"jwt": believing("a")}, rds={"r": "1"})
        session.ask("cds")
        session.ack("cds")
        for name, one in (("ecds", "jwt"), ("rds", "r")):
            session.ask(name, one)
            session.ack(name, *([one] if mode is Mode.SOTW else []))
        told = session.set(cds={"a": "1", "b": "1"}, ecds={"jwt": believing("b")}, rds={"r": "2"})
        assert of(session, "rds", told) == []
        told = session.ack("cds") if answer == "ack" else session.nack("cds")
        # What it refused it is not sent; what does not need it goes on.
        assert (of(session, "ecds", told), of(session, "rds", told)) == (sent, ["r"])


def believing(cluster: str) -> str:
    """A filter that fetches the keys of tokens from a cluster, as text."""
    uri = HttpUri(uri="http://keys", cluster=cluster)
    provider = JwtProvider(remote_jwks=RemoteJwks(http_uri=uri))
    config = JwtAuthentication(providers={"one": provider})
    packed = PackedAny(type_url=JWT, value=bytes(config))
    return bytes(TypedExtensionConfig(name="jwt", typed_config=packed)).decode()


def listening(cluster: str) -> str:
    """A listener that is a TCP proxy, as text."""
    proxy = TcpProxy(cluster=cluster).SerializeToString()
    config = Any(type_url=f"{NETWORK}.tcp_proxy.v3.TcpProxy", value=proxy)
    chain = FilterChain(filters=[Filter(typed_config=config)])
    return Listener(name="in", filter_chains=[chain]).SerializeToString().decode()


def test_rule_07_endpoints_do_not_wait_for_the_ack_of_clusters(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, eds={"a": "1"})
    assert session.ask("cds") == ["send cds a=1"]
    assert session.ask("eds", "a") == ["send eds a=1"]
    session.ack("eds", *(["a"] if mode is Mode.SOTW else []))
    assert session.set(eds={"a": "2"}) == ["send eds a=2"]


def test_rule_08_nothing_waits_for_a_type_that_was_not_asked_for(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1"}, lds={"in": "1"}, rds={"routes": "1"})
    session.ask("cds")
    session.ack("cds")
    removal = "send cds b=1" if mode is Mode.SOTW else "send cds b=1 -a"
    assert session.set(cds={"b": "1"}, lds={"in": "2"}, rds={"routes": "2"}) == [removal]


def test_rule_10_no_name_stands_twice_in_a_response(mode: Mode) -> None:
    session = Session(mode, cds={"a": "1", "b": "1"})
    assert session.ask("cds", "*", "a") == ["send cds a=1 b=1"]


def test_rule_14_newest_wins_while_an_answer_is_awaited(mode: Mode) -> None:
    session = started(mode)
    assert session.set(eds={"a": "2"}) == ["send eds a=2"]
    assert session.set(eds={"a": "3"}) == []
    assert session.set(eds={"a": "4"}) == []
    names = ["a"] if mode is Mode.SOTW else []
    assert session.ack("eds", *names) == ["acked eds", "send eds a=4"]


def test_rule_20_and_30_a_changed_cluster_brings_its_endpoints_again(mode: Mode) -> None:
    session = started(mode)
    assert session.set(cds={"a": "2"}) == ["send cds a=2", "send eds a=1"]


def test_rule_20_and_30_the_assignment_of_a_cluster_may_have_another_name() -> None:
    session = Session(Mode.DELTA, cds={}, eds={"service": "1"})
    session.ask("cds")
    session.ask("eds", "service")
    session.ack("cds")
    session.ack("eds")
    cluster = Cluster(name="a")
    cluster.eds_cluster_config.service_name = "service"
    body = cluster.SerializeToString().decode()
    assert session.set(cds={"a": body})[1:] == ["send eds service=1"]


def test_a_runtime_layer_that_does_not_exist_is_answered_as_an_empty_one(mode: Mode) -> None:
    session = Session(mode, cds={})
    assert session.ask("rtds", "weir") == ["send rtds weir=\\n\\x04weir"]
    assert session.ack("rtds", *(["weir"] if mode is Mode.SOTW else [])) == ["acked rtds"]
    assert session.set(rtds={}) == []
    assert session.set(rtds={"weir": "1"}) == ["send rtds weir=1"]
    session.ack("rtds", *(["weir"] if mode is Mode.SOTW else []))
    assert session.set(rtds={}) == ["send rtds weir=\\n\\x04weir"]


def test_too_many_names_and_too_many_types_end_the_stream(mode: Mode) -> None:
    session = Session(mode, cds={})
    names = [str(number) for number in range(50_001)]
    assert session.ask("eds", *names) == ["close RESOURCE_EXHAUSTED"]
    for number in range(64):
        session.ask(f"T{number}", "x")
    assert session.ask("T64", "x") == ["close RESOURCE_EXHAUSTED"]


def test_the_status_tells_what_was_sent_taken_and_refused(mode: Mode) -> None:
    session = started(mode)
    session.set(eds={"a": "2"})
    status = {one.type_url.rpartition(".")[2]: one for one in session.stream.status()}
    eds = status["ClusterLoadAssignment"]
    assert eds.waiting
    assert eds.sent_version == session.version("eds") != eds.acked_version
    session.nack("eds", *(["a"] if mode is Mode.SOTW else []), error="no such thing")
    eds = session.stream.status()[1]
    assert (eds.waiting, eds.nack) == (False, "no such thing")
    assert session.stream.status()[0].acked_version == session.version("cds")
