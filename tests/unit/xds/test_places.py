"""What the nodes of a place are shown, and what a push to them touches."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model import NOWHERE, Zone
from controlplane.xds import SnapshotCache
from controlplane.xds.effects import Request, Send
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream, View
from controlplane.xds.versions import ResourceSet

A, B, EU, US = Zone("eu", "a"), Zone("eu", "b"), Zone("eu"), Zone("us", "a")
COMMON = {CLUSTER: {"web": b"c"}, ENDPOINT: {"web": b"1", "api": b"1"}}


def at(cache: SnapshotCache, where: Zone, node: str = "") -> View:
    view = cache.view("edge", node, where)
    assert view is not None
    return view


def bodies(view: View) -> dict[str, bytes]:
    return {name: one.body for name, one in view[ENDPOINT].by_name.items()}


def cache_with(by_place: Mapping[Zone, Mapping[str, bytes]]) -> SnapshotCache:
    cache = SnapshotCache()
    cache.set("edge", COMMON, by_place)
    return cache


def test_a_node_is_shown_what_its_zone_is_told_or_else_its_region() -> None:
    cache = cache_with({A: {"web": b"a"}, EU: {"web": b"eu"}})
    assert bodies(at(cache, A)) == {"web": b"a", "api": b"1"}
    assert bodies(at(cache, B)) == {"web": b"eu", "api": b"1"}
    for nowhere in (US, NOWHERE, Zone(zone="a")):
        assert at(cache, nowhere) is cache.view("edge")
    assert at(cache, A)[CLUSTER] is at(cache, US)[CLUSTER]
    assert at(cache, A)[ENDPOINT].by_name["api"] is at(cache, US)[ENDPOINT].by_name["api"]


def test_what_did_not_change_in_a_place_is_the_same_set() -> None:
    cache = cache_with({A: {"web": b"a"}, B: {"web": b"b"}})
    a, b, common = (at(cache, where)[ENDPOINT] for where in (A, B, US))
    assert not cache.set("edge", COMMON, {A: {"web": b"a"}, B: {"web": b"b"}})
    assert cache.set("edge", COMMON, {A: {"web": b"a2"}, B: {"web": b"b"}})
    assert at(cache, A)[ENDPOINT] is not a
    assert at(cache, B)[ENDPOINT] is b
    assert at(cache, US)[ENDPOINT] is common
    # What all are told of, but these places otherwise.
    changed = {**COMMON, ENDPOINT: {"web": b"2", "api": b"1"}}
    a2 = at(cache, A)[ENDPOINT]
    assert cache.set("edge", changed, {A: {"web": b"a2"}, B: {"web": b"b"}})
    assert (at(cache, A)[ENDPOINT], at(cache, B)[ENDPOINT]) == (a2, b)
    assert at(cache, US)[ENDPOINT] is not common


def test_a_stage_has_places_of_its_own() -> None:
    cache = cache_with({A: {"web": b"a"}})
    cache.stage("edge", {**COMMON, CLUSTER: {"web": b"c2"}}, 1.0, {A: {"web": b"a2"}})
    assert bodies(at(cache, A, "envoy-1"))["web"] == b"a2"
    assert at(cache, A, "envoy-1")[CLUSTER].by_name["web"].body == b"c2"
    assert bodies(at(cache, A))["web"] == b"a"
    assert bodies(at(cache, US, "envoy-1"))["web"] == b"1"
    cache.end_stage("edge")
    assert bodies(at(cache, A, "envoy-1"))["web"] == b"a"


def test_answers_of_sets_that_no_place_is_shown_any_more_are_forgotten() -> None:
    cache = cache_with({A: {"web": b"a"}, B: {"web": b"b"}})
    a, b = (at(cache, where)[ENDPOINT] for where in (A, B))
    for shown in (a, b):
        shown.memo.keep("some", 1, 1)
    cache.set("edge", COMMON, {B: {"web": b"b"}})
    assert (len(a.memo), len(b.memo)) == (0, 1)


def told(effects: list[object]) -> list[str]:
    return [one.name for send in effects if isinstance(send, Send) for one in send.step.resources]


def test_a_push_to_a_place_says_nothing_to_others_and_only_what_changed_there() -> None:
    for mode in Mode:
        cache = cache_with({A: {"web": b"a"}, B: {"web": b"b"}})
        streams = {where: Stream(mode, at(cache, where)) for where in (A, B, US)}
        for stream in streams.values():
            (send,) = stream.on_request(Request(ENDPOINT, names=frozenset({"web", "api"})))
            assert isinstance(send, Send)
            stream.on_request(
                Request(
                    ENDPOINT,
                    nonce=send.nonce,
                    names=frozenset({"web", "api"} if mode is Mode.SOTW else ()),
                )
            )
        cache.set("edge", COMMON, {A: {"web": b"a2"}, B: {"web": b"b"}})
        pushed = {where: told([*streams[where].on_view(at(cache, where))]) for where in streams}
        assert pushed == {A: ["web"], B: [], US: []}


NAMES = st.dictionaries(st.sampled_from("abc"), st.binary(max_size=1), max_size=3)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=6))
def test_a_variant_is_as_if_it_were_made_from_nothing(
    steps: list[tuple[dict[str, bytes], dict[str, bytes]]],
) -> None:
    common, before = ResourceSet.empty(ENDPOINT, 0), None
    for generation, (bodies_, others) in enumerate(steps, 1):
        common = common.replaced(bodies_, generation)
        now = common.varied(others, before, generation)
        fresh = ResourceSet.empty(ENDPOINT, 0).replaced({**bodies_, **others}, generation)
        assert now.version == fresh.version
        assert {n: one.version for n, one in now.by_name.items()} == {
            n: one.version for n, one in fresh.by_name.items()
        }
        if before is not None and before.version == now.version:
            assert now is before
        before = now
