"""Which last valid version is in force, of those that several processes know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cli.fleets import snapshots
from controlplane.replicas.refused import Telling, earlier
from controlplane.resources import Loaded, load
from controlplane.resources.earlier import (
    Earlier,
    Heard,
    InForce,
    Said,
    in_force,
    offered,
    refused,
    stayed,
)
from controlplane.resources.read import MAX_FILE_BYTES
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICIES, ROUTE

WEB = "HTTPRoute/default/web"
EDGE = "Gateway/default/edge"
MONDAY, TUESDAY = "2027-01-04T00:00:00Z", "2027-01-05T00:00:00Z"


def one_line(text: str, created: str = MONDAY, **spec: object) -> bytes:
    """As `kubernetes.documents` makes it."""
    document: dict[str, Any] = yaml.safe_load(text)
    document["metadata"] |= {"creationTimestamp": created, "namespace": "default"}
    document["spec"] |= spec
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def route(host: str, created: str = MONDAY) -> bytes:
    return one_line(ROUTE, created, hostnames=[host])


BAD = route("no host")
WORSE = route("never a host")
OTHERS = {EDGE: one_line(GATEWAY), "Backend/default/web": one_line(BACKEND)}


def hosts(loaded: Loaded) -> list[str]:
    return [host for one in loaded.declared.routes.values() for host in one.spec.hostnames]


def sent(loaded: Loaded) -> list[Any]:
    return [one.resources for one in snapshots(loaded.declared)]


def listed(*routes: bytes) -> Loaded:
    """By a process that saw these versions one after the other."""
    loaded = Loaded()
    for one in routes:
        loaded = load(loaded, {**OTHERS, WEB: one}, POLICIES)
    return loaded


def heard(
    loaded: Loaded, now: bytes, said: Mapping[str, Said], ours: Earlier | None = None
) -> InForce:
    known = {WEB: ours} if ours is not None else {}
    return in_force(loaded, {**OTHERS, WEB: now}, known, said, POLICIES)


def test_who_never_saw_it_valid_serves_what_those_serve_who_did() -> None:
    saw, new = listed(route("good"), BAD), listed(BAD)
    assert hosts(new) == []
    found = heard(new, BAD, {WEB: Said(Earlier(route("good"), 7), leads=True)})
    assert sent(found.loaded) == sent(saw)
    assert found.loaded.problems == saw.problems
    assert found.earlier == {WEB: Earlier(route("good"), 7)}


@pytest.mark.parametrize(
    ("ours", "said", "leads", "wins"),
    [
        (None, 0, False, True),
        (5, 7, False, True),
        (5, 5, True, True),
        (5, 5, False, False),
        (5, 4, True, False),
        (0, 0, True, True),
        (0, 0, False, False),
        (5, 0, True, False),
    ],
)
def test_the_newest_wins_and_whoever_decides_where_that_is_not_known(
    ours: int | None, said: int, leads: bool, wins: bool
) -> None:
    mine = None if ours is None else Earlier(route("mine"), ours)
    loaded = listed(BAD) if mine is None else listed(route("mine"), BAD)
    found = heard(loaded, BAD, {WEB: Said(Earlier(route("theirs"), said), leads)}, mine)
    assert hosts(found.loaded) == (["theirs"] if wins else ["mine"])


def test_what_is_valid_now_stands_whatever_others_say() -> None:
    said = {WEB: Said(Earlier(route("theirs"), 99), leads=True)}
    loaded = listed(route("good"))
    assert heard(loaded, route("good"), said) == InForce(loaded)
    taken = heard(listed(BAD), BAD, said)
    mended = load(taken.loaded, {**OTHERS, WEB: route("mended")}, POLICIES)
    assert hosts(heard(mended, route("mended"), said).loaded) == ["mended"]
    assert stayed(mended, lambda _: None, taken.earlier) == {}


def test_what_is_deleted_is_gone_and_what_was_never_listed_does_not_come() -> None:
    said = {
        WEB: Said(Earlier(route("theirs"), 99), leads=True),
        "HTTPRoute/default/never": Said(
            Earlier(route("never").replace(b'"web"', b'"never"', 1), 1), leads=True
        ),
    }
    taken = heard(listed(BAD), BAD, said)
    assert hosts(taken.loaded) == ["theirs"]
    gone = load(taken.loaded, OTHERS, POLICIES)
    found = in_force(gone, OTHERS, stayed(gone, lambda _: None, taken.earlier), said, POLICIES)
    assert hosts(found.loaded) == []
    assert found.earlier == {}


def test_an_object_that_was_created_later_has_no_version_of_the_one_before() -> None:
    """Also where nobody saw that there was none in between."""
    again = route("no host", TUESDAY)
    said = {WEB: Said(Earlier(route("theirs"), 99), leads=True)}
    assert hosts(heard(listed(again), again, said).loaded) == []
    loaded = listed(route("good"), again)
    assert hosts(loaded) == ["good"]
    found = heard(loaded, again, {}, Earlier(route("good"), 3))
    assert hosts(found.loaded) == []
    assert found.earlier == {}
    assert refused(found.loaded) == {WEB}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff{}",
        b"{}",
        b"[" * 100_000,
        route("good")[:-1],
        route("good").replace(b'"web"', b'"other"', 1),
        route("good").replace(b"HTTPRoute", b"GRPCRoute"),
        route("good") + b"\n---\n" + one_line(GATEWAY.replace("8080", "1")),
        WORSE,
        BAD,
        route("good").replace(b'"good"', b'"' + b"x" * MAX_FILE_BYTES + b'"'),
    ],
    ids=["nothing", "bytes", "empty", "deep", "cut", "another", "kind", "two", "refused", "same",
         "large"],
)  # fmt: skip
def test_what_is_no_valid_version_of_it_is_not_taken(document: bytes) -> None:
    loaded = listed(route("mine"), BAD)
    mine = Earlier(route("mine"), 1)
    found = heard(loaded, BAD, {WEB: Said(Earlier(document, 9), leads=True)}, mine)
    assert found.loaded is loaded
    assert found.earlier == {WEB: mine}


def test_what_is_said_and_is_none_is_told_so_that_it_can_be_forgotten() -> None:
    found = heard(listed(BAD), BAD, {WEB: Said(Earlier(WORSE, 9), leads=True)})
    assert found.unusable == {WEB}


@dataclass
class Process:
    """One of several that list the same, and what it has in force."""

    ours: Earlier | None
    heard: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.loaded = listed(*(() if self.ours is None else (self.ours.document,)), BAD)
        self.earlier = {} if self.ours is None else {WEB: self.ours}

    def look(self) -> None:
        found = in_force(
            self.loaded, {**OTHERS, WEB: BAD}, self.earlier, self.heard.said(), POLICIES
        )
        self.loaded, self.earlier = found.loaded, dict(found.earlier)


@dataclass
class Stream:
    """From a process that follows to the one that decides, and back."""

    follower: Process
    leader: Process
    up: Telling = field(default_factory=Telling)
    down: Telling = field(default_factory=Telling)

    def say(self) -> bool:
        """Whether anything was said."""
        said = False
        for part in self.down.parts(self.leader.earlier):
            self.up.heard(earlier(part))
            self.follower.heard.hear(earlier(part), leads=True)
            said = True
        for part in self.up.parts(self.follower.earlier):
            self.down.heard(earlier(part))
            self.leader.heard.hear(earlier(part), leads=False)
            said = True
        return said


VERSIONS = [Earlier(route(f"v{at}"), 10 * at) for at in range(1, 4)]
"""As the API server had them, one after the other."""
KNOWN = st.one_of(
    st.none(),
    st.builds(lambda one, later: Earlier(one.document, one.version + later),
              st.sampled_from(VERSIONS), st.integers(0, 9)),
    st.builds(lambda one: Earlier(one.document), st.sampled_from(VERSIONS)),
)  # fmt: skip
"""What a process may know of it: nothing, a version as it saw it last, or one that it had kept."""


@settings(max_examples=60, deadline=None)
@given(known=st.lists(KNOWN, min_size=2, max_size=4), data=st.data())
def test_all_end_with_the_same_whoever_decides_and_forget_nothing(
    known: list[Earlier | None], data: st.DataObject
) -> None:
    processes = [Process(one) for one in known]
    for leader in data.draw(st.lists(st.sampled_from(processes), min_size=1, max_size=2)):
        ours = leader.earlier.get(WEB)
        streams = [Stream(one, leader) for one in processes if one is not leader]
        for _ in range(10):
            said = [stream.say() for stream in data.draw(st.permutations(streams))]
            for one in data.draw(st.permutations(processes)):
                one.look()
            if not any(said):
                break
        else:
            pytest.fail("they never end to talk")
        assert len({str(hosts(one.loaded)) for one in processes}) == 1
    newest = max((one.version for one in known if one is not None), default=None)
    found = processes[0].earlier.get(WEB)
    if newest is None:
        assert found is None
    elif newest > 0:  # the oracle: the version of the API server that this was
        assert found is not None
        assert found.document == VERSIONS[newest // 10 - 1].document
    else:
        assert found == ours or ours is None
        assert found in known


def test_what_is_remembered_has_a_bound_and_makes_room_when_it_is_forgotten() -> None:
    one, other = Earlier(b"x" * 60, 1), Earlier(b"y" * 60, 1)
    memory = Heard(most_bytes=100)
    assert memory.hear({"a": one, "b": other}, leads=True) == ["b"]
    assert memory.news
    said = memory.said()
    assert said == {"a": Said(one, leads=True)}
    assert not memory.news
    newer = Earlier(b"z" * 60, 2)
    memory.hear({"a": newer}, leads=False)
    memory.forget(said)  # decided before that was heard
    assert memory.said() == {"a": Said(newer, leads=False)}
    assert memory.hear({"a": one}, leads=True) == []
    assert not memory.news  # older
    memory.forget(memory.said())
    assert memory.hear({"b": other}, leads=True) == []


def test_what_is_offered_has_the_same_bound() -> None:
    each = {name: Earlier(name.encode() * 60) for name in "cab"}
    assert list(offered(each, 130)) == ["a", "b"]
