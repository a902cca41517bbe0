"""Whatever clients and snapshots do, and in whatever order, a client ends with what it asked for.

The client here is the naive twin: it keeps plain dictionaries, knows nothing of versions or shared
work, and applies each response as the protocol says. Requests and responses travel in two queues
that hypothesis empties at will, so old nonces, late ACKs and crossing messages all occur.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane._pb.route_pb2 import Route, RouteAction, RouteConfiguration, VirtualHost
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.effects import Close, Effect, Request, Send
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream

TYPES = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
WHOLE = (CLUSTER, LISTENER)
NAMES = ("a", "b", "c")
BAD = "bad"
GROUP = "group"


def to(cluster: str) -> str:
    """A route configuration that sends to this cluster, as text."""
    host = VirtualHost(name="all", routes=[Route(route=RouteAction(cluster=cluster))])
    return RouteConfiguration(virtual_hosts=[host]).SerializeToString().decode()


def named(body: str) -> frozenset[str]:
    """The cluster that such a text sends to, found in the plainest way."""
    return frozenset(name for name in NAMES if body == to(name))


def held(*texts: str) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*texts, BAD]))


resources = {
    type_url: held(*map(to, NAMES), "1") if type_url == ROUTE else held("1", "2", "3")
    for type_url in TYPES
}
snapshots = st.fixed_dictionaries(resources)
types = st.sampled_from(TYPES)
name_sets = st.frozensets(st.sampled_from(NAMES))


@dataclass
class Subscribed:
    """What the client wants and has of one type, and what it last said."""

    wildcard: bool
    names: frozenset[str]
    has: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    refused: list[tuple[tuple[tuple[str, str], ...], tuple[str, ...]]] = field(default_factory=list)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class Client:
    """An honest client that refuses a response with a bad resource in it."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.types: dict[str, Subscribed] = {}
        self.requests: deque[Request] = deque()
        self.responses: deque[Send] = deque()
        self.nonces: set[str] = set()

    def reconnect(self) -> None:
        """Ask anew for all that was wanted; what is held stays."""
        self.requests.clear()
        self.responses.clear()
        self.nonces.clear()
        # Who wants nothing does not ask: a first request without names would be a wildcard.
        self.types = {url: one for url, one in self.types.items() if one.wildcard or one.names}
        for type_url, one in self.types.items():
            one.nonce = ""
            one.refused.clear()
            names = one.names | {"*"} if one.wildcard and one.names else one.names
            held = dict(one.versions) if self.mode is Mode.DELTA else {}
            self.requests.append(Request(type_url, names=names, initial_versions=held))

    def subscribe(self, type_url: str, names: frozenset[str]) -> None:
        """Name these, or take the wildcard when it is the first time and there are none."""
        one = self.types.get(type_url)
        if one is None:
            self.types[type_url] = Subscribed(not names, names)
            self.requests.append(Request(type_url, names=names))
            return
        if one.wildcard:
            return  # the twin keeps to one of the two ways
        added, dropped = names - one.names, one.names - names
        one.names = names
        for name in dropped:
            one.has.pop(name, None)
            one.versions.pop(name, None)
        if self.mode is Mode.DELTA:
            if added or dropped:
                self.requests.append(Request(type_url, names=added, unsubscribe=dropped))
        else:
            self.requests.append(Request(type_url, one.nonce, names=names))

    def receive(self) -> None:
        """Take the oldest response, and say what becomes of it."""
        send = self.responses.popleft()
        one = self.types[send.type_url]
        step = send.step
        got = {each.name: each.body.decode() for each in step.resources}
        assert len(got) == len(step.resources), "rule 10: a name twice"
        assert send.nonce, "rule 1: a nonce"
        assert send.nonce not in self.nonces, "rule 1: a nonce twice"
        self.nonces.add(send.nonce)
        one.nonce = send.nonce
        error = BAD if BAD in got.values() else None
        content = (tuple(sorted(got.items())), step.removed)
        if error is not None:
            assert content not in one.refused, "rule 4: what was refused came again"
            one.refused.append(content)
        else:
            self._take(send.type_url, one, send, got)
        listed = one.names if self.mode is Mode.SOTW else frozenset[str]()
        self.requests.append(Request(send.type_url, send.nonce, error, names=listed))

    def _take(self, type_url: str, one: Subscribed, send: Send, got: dict[str, str]) -> None:
        if self.mode is Mode.SOTW and type_url in WHOLE:
            one.has.clear()
        for each in send.step.resources:
            if one.wants(each.name):
                one.has[each.name] = got[each.name]
                one.versions[each.name] = each.version
        for name in send.step.removed:
            one.has.pop(name, None)
            one.versions.pop(name, None)


class Convergence(RuleBasedStateMachine):
    """One client and one server; messages are delivered when hypothesis says so."""

    mode: Mode

    @initialize(first=snapshots)
    def start(self, first: Mapping[str, Mapping[str, str]]) -> None:
        self.cache = SnapshotCache()
        self.snapshot: Mapping[str, Mapping[str, str]] = {}
        self._set(first)
        self.client = Client(self.mode)
        self.connect()

    def connect(self) -> None:
        view = self.cache.view(GROUP)
        assert view is not None
        self.stream = Stream(self.mode, view)
        self.unanswered: dict[str, str] = {}
        self.sent_clusters: set[str] = set()
        self.sent_routes: dict[str, str] = {}
        self.in_flight: set[str] = set()
        self.late: set[str] = set()

    def _set(self, snapshot: Mapping[str, Mapping[str, str]]) -> None:
        self.snapshot = snapshot
        self.cache.set(
            GROUP,
            {
                type_url: {name: body.encode() for name, body in held.items()}
                for type_url, held in snapshot.items()
            },
        )

    def _deliver(self, effects: list[Effect]) -> None:
        for effect in effects:
            assert not isinstance(effect, Close)
            if isinstance(effect, Send):
                assert effect.type_url not in self.unanswered, "two responses without an answer"
                self.unanswered[effect.type_url] = effect.nonce
                self.client.responses.append(effect)
                self._make_before_break(effect)

    def _make_before_break(self, send: Send) -> None:
        """Rule 6: no route to a cluster that is new and not answered, unless time was up."""
        got = {each.name: each.body.decode() for each in send.step.resources}
        if send.type_url == CLUSTER:
            here = set(self.client.types[CLUSTER].versions) if self.mode is Mode.DELTA else set()
            self.in_flight = got.keys() - self.sent_clusters - here
            self.sent_clusters |= got.keys()
        if send.type_url == ROUTE:
            for name, body in got.items():
                new = named(body) - named(self.sent_routes.get(name, ""))
                assert not new & (self.in_flight - self.late), "rule 6: a route before its cluster"
                self.sent_routes[name] = body

    @rule(snapshot=snapshots)
    def change(self, snapshot: Mapping[str, Mapping[str, str]]) -> None:
        self._set(snapshot)
        view = self.cache.view(GROUP)
        assert view is not None
        self._deliver(self.stream.on_view(view))

    @rule(snapshot=snapshots, type_url=types)
    def change_one_type(self, snapshot: Mapping[str, Mapping[str, str]], type_url: str) -> None:
        self.change({**self.snapshot, type_url: snapshot[type_url]})

    @rule()
    def time_is_up(self) -> None:
        """Routes wait no longer for clusters that are not answered."""
        self.late |= self.in_flight
        self._deliver(self.stream.on_deadline())

    @rule(type_url=types, names=name_sets)
    def subscribe(self, type_url: str, names: frozenset[str]) -> None:
        self.client.subscribe(type_url, names)

    @rule(type_url=types, nonce=st.sampled_from(["", "old"]), names=name_sets)
    def an_old_nonce(self, type_url: str, nonce: str, names: frozenset[str]) -> None:
        """A request that answers nothing known, from a client that has asked before."""
        known = self.client.types.get(type_url)
        if known is None or not known.nonce or self.mode is Mode.DELTA:
            return
        before = len(self.client.responses)
        self._deliver(self.stream.on_request(Request(type_url, f"{nonce}x", names=names)))
        assert len(self.client.responses) == before, "rule 17: an old nonce was answered"

    @precondition(lambda self: self.client.requests)
    @rule()
    def the_server_reads(self) -> None:
        request = self.client.requests.popleft()
        if self.unanswered.get(request.type_url) == request.nonce:
            del self.unanswered[request.type_url]
            if request.type_url == CLUSTER:
                self.in_flight = set()
                self.late = set()
        self._deliver(self.stream.on_request(request))

    @precondition(lambda self: self.client.responses)
    @rule()
    def the_client_reads(self) -> None:
        self.client.receive()

    @rule()
    def reconnect(self) -> None:
        self.connect()
        self.client.reconnect()

    @invariant()
    def one_response_at_a_time(self) -> None:
        if hasattr(self, "client"):
            assert len(self.client.responses) <= len(TYPES)

    def teardown(self) -> None:
        """Let the messages run out, then look."""
        if not hasattr(self, "client"):
            return
        for _ in range(200):
            if self.client.requests:
                self.the_server_reads()
            elif self.client.responses:
                self.the_client_reads()
            else:
                break
        else:
            pytest.fail("the two never come to rest")
        self._nothing_good_is_missing()
        self._set(without_bad(self.snapshot))
        view = self.cache.view(GROUP)
        assert view is not None
        self._deliver(self.stream.on_view(view))
        self._exchange()
        for type_url, one in self.client.types.items():
            wanted = {n: b for n, b in self.snapshot[type_url].items() if one.wants(n)}
            has = dict(one.has)
            if self.mode is Mode.SOTW and type_url not in WHOLE:
                # Such a response cannot say that something is gone (rule 14).
                has = {name: body for name, body in has.items() if name in wanted}
            assert has == wanted, type_url

    def _nothing_good_is_missing(self) -> None:
        """Rule 11: at rest a client has all that it does not refuse by itself.

        But for sets that are refused as a whole, for what is not in the snapshot any more, and for
        what waits for clusters.
        """
        while self.stream.pauses():
            self._deliver(self.stream.on_pause())
            self._exchange()
        for type_url, one in self.client.types.items():
            if type_url in WHOLE and self.mode is Mode.SOTW:
                continue
            if type_url in (LISTENER, ROUTE) and self._waits_for_clusters():
                continue
            good = {n: b for n, b in self.snapshot[type_url].items() if one.wants(n) and b != BAD}
            assert good.items() <= one.has.items(), type_url

    def _waits_for_clusters(self) -> bool:
        return any(state.held for state in self.stream.status())

    def _exchange(self) -> None:
        while self.client.requests or self.client.responses:
            if self.client.requests:
                self.the_server_reads()
            else:
                self.the_client_reads()


def without_bad(snapshot: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """What a translator publishes once it was told: a refusal stands until content differs."""
    return {
        type_url: {name: "good" if body == BAD else body for name, body in held.items()}
        for type_url, held in snapshot.items()
    }


NUMBERED = tuple(f"n{number}" for number in range(8))
pushes = st.lists(
    st.dictionaries(st.sampled_from(NUMBERED), st.booleans(), min_size=1), min_size=1, max_size=12
)


@pytest.mark.parametrize("mode", list(Mode))
@settings(deadline=None)
@given(pushes=pushes, answered=st.lists(st.booleans(), min_size=12, max_size=12))
def test_whatever_changes_together_what_is_good_arrives(
    mode: Mode, pushes: list[dict[str, bool]], answered: list[bool]
) -> None:
    """Rule 11, where every push changes several resources, good and bad, and a client refuses a
    response with a bad one in it whole; now and then it is shown more before it has answered.
    """
    cache, client = SnapshotCache(), Client(mode)
    bodies = dict.fromkeys(NUMBERED, b"first")
    cache.set(GROUP, {ENDPOINT: bodies})
    stream = Stream(mode, cache.view(GROUP) or {})
    client.subscribe(ENDPOINT, frozenset(NUMBERED))

    def exchange() -> None:
        while client.requests or client.responses:
            if client.requests:
                effects = stream.on_request(client.requests.popleft())
                client.responses += [one for one in effects if isinstance(one, Send)]
            else:
                client.receive()

    exchange()
    for number, (changed, at_once) in enumerate(zip(pushes, answered, strict=False)):
        for name, good in changed.items():
            bodies[name] = b"%d" % number if good else BAD.encode()
        cache.set(GROUP, {ENDPOINT: bodies})
        client.responses += [
            one for one in stream.on_view(cache.view(GROUP) or {}) if isinstance(one, Send)
        ]
        if at_once:
            exchange()
            _assert_good(client, bodies)
    exchange()
    _assert_good(client, bodies)


def _assert_good(client: Client, bodies: Mapping[str, bytes]) -> None:
    good = {name: body.decode() for name, body in bodies.items() if body.decode() != BAD}
    assert good.items() <= client.types[ENDPOINT].has.items()


class Sotw(Convergence):
    mode = Mode.SOTW


class Delta(Convergence):
    mode = Mode.DELTA


_settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSotw = Sotw.TestCase
TestSotw.settings = _settings
TestDelta = Delta.TestCase
TestDelta.settings = _settings
