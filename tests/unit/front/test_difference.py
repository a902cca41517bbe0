"""A worker that is told differences holds what the serving process holds."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controlplane.front.messages import Show
from controlplane.front.pool import differences, parts
from controlplane.front.worker import Shown
from controlplane.model import NOWHERE, Zone
from controlplane.xds import SnapshotCache
from controlplane.xds.kinds import ENDPOINT
from controlplane.xds.staging import Views
from controlplane.xds.stream import View

FLEET = "edge"
BODIES = st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=3), max_size=6)
SNAPSHOTS = st.dictionaries(st.sampled_from(["cds", ENDPOINT, "lds"]), BODIES, max_size=3)
PLACES = [Zone("eu", "a"), Zone("eu"), Zone("us", "a")]
ASKED = [NOWHERE, *PLACES, Zone("eu", "z")]
BY_PLACE = st.dictionaries(st.sampled_from(PLACES), BODIES, max_size=3)
STAGES = st.none() | st.tuples(SNAPSHOTS, st.sampled_from([0.25, 0.5]), BY_PLACE)

Bodies = dict[str, dict[str, bytes]]
ByPlace = dict[Zone, dict[str, bytes]]


def content(view: View | None) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Version and bodies of each type."""
    return {
        url: (one.version, {name: found.body for name, found in one.by_name.items()})
        for url, one in (view or {}).items()
    }


def show(
    shown: Shown, before: Views | None, now: Views, share: float | None = None, most: int = 1 << 20
) -> None:
    """As a member of the pool tells a worker."""
    for told in differences(FLEET, before, now, share):
        for part in parts(told, most):
            shown.show(over_the_wire(part))


def over_the_wire(told: Show) -> Show:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Show)


def views(cache: SnapshotCache) -> Views:
    found = cache.views(FLEET)
    assert found is not None
    return found


@given(st.lists(st.tuples(SNAPSHOTS, BY_PLACE, STAGES), min_size=1, max_size=8))
def test_any_sequence_of_snapshots_and_stages_is_followed(
    steps: list[tuple[Bodies, ByPlace, tuple[Bodies, float, ByPlace] | None]],
) -> None:
    cache, copy = SnapshotCache(), SnapshotCache()
    shown = Shown(copy)
    view: Views | None = None
    staged: Views | None = None
    for snapshot, by_place, stage in steps:
        cache.set(FLEET, snapshot, by_place)
        show(shown, view, views(cache))
        view = views(cache)
        if stage is None:
            cache.end_stage(FLEET)
            shown.end_stage(FLEET)
            staged = None
        else:
            cache.stage(FLEET, *stage)
            on = cache.staged(FLEET)
            assert on is not None
            show(shown, staged, on.views, on.share)
            staged = on.views
        for node in ("", *(f"envoy-{i}" for i in range(8))):
            for where in ASKED:
                mine = content(copy.view(FLEET, node, where))
                assert mine == content(cache.view(FLEET, node, where))


@given(SNAPSHOTS, SNAPSHOTS, BY_PLACE, st.integers(0, 6))
def test_what_is_told_in_parts_is_shown_as_one(
    first: Bodies, second: Bodies, by_place: ByPlace, most: int
) -> None:
    cache, copy = SnapshotCache(), SnapshotCache()
    shown = Shown(copy)
    view: Views | None = None
    for snapshot in (first, second):
        cache.set(FLEET, snapshot, by_place)
        before = content(copy.view(FLEET))
        told = [part for one in differences(FLEET, view, views(cache)) for part in parts(one, most)]
        for part in told[:-1]:
            shown.show(over_the_wire(part))
            assert content(copy.view(FLEET)) == before
        shown.show(over_the_wire(told[-1]))
        view = views(cache)
        for where in ASKED:
            assert content(copy.view(FLEET, where=where)) == content(cache.view(FLEET, where=where))


def test_only_what_changed_is_told() -> None:
    cache, eu = SnapshotCache(), Zone("eu")
    told = {"cds": {"a": b"1", "b": b"1", "c": b"1"}, ENDPOINT: {"a": b"1", "b": b"1", "d": b"1"}}
    cache.set(FLEET, told, {eu: {"a": b"2", "b": b"2", "d": b"2"}})
    before = views(cache)
    told = {"cds": {"a": b"1", "b": b"2"}, ENDPOINT: told[ENDPOINT]}
    cache.set(FLEET, told, {eu: {"a": b"2", "b": b"3"}})
    common, here = differences(FLEET, before, views(cache))
    types = ("cds", ENDPOINT)
    assert common == Show(
        FLEET, types, {"cds": {"b": b"2"}}, {"cds": ("c",)}, more=True, places=(eu,)
    )
    assert here == Show(FLEET, (), {ENDPOINT: {"b": b"3"}}, {ENDPOINT: ("d",)}, where=eu)
