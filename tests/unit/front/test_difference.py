"""A worker that is told differences holds what the serving process holds."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controlplane.front.messages import Show
from controlplane.front.pool import difference, parts
from controlplane.front.worker import Shown
from controlplane.xds import SnapshotCache
from controlplane.xds.stream import View

FLEET = "edge"
BODIES = st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=3), max_size=6)
SNAPSHOTS = st.dictionaries(st.sampled_from(["cds", "eds", "lds"]), BODIES, max_size=3)
STAGES = st.none() | st.tuples(SNAPSHOTS, st.sampled_from([0.25, 0.5]))


def content(view: View | None) -> dict[str, tuple[str, dict[str, bytes]]]:
    """Version and bodies of each type."""
    return {
        url: (one.version, {name: found.body for name, found in one.by_name.items()})
        for url, one in (view or {}).items()
    }


@given(st.lists(st.tuples(SNAPSHOTS, STAGES), min_size=1, max_size=8))
def test_any_sequence_of_snapshots_and_stages_is_followed(
    steps: list[
        tuple[dict[str, dict[str, bytes]], tuple[dict[str, dict[str, bytes]], float] | None]
    ],
) -> None:
    cache, copy = SnapshotCache(), SnapshotCache()
    shown = Shown(copy)
    view: View | None = None
    staged: View | None = None
    for snapshot, stage in steps:
        cache.set(FLEET, snapshot)
        now = cache.view(FLEET)
        assert now is not None
        shown.show(over_the_wire(difference(FLEET, view, now)))
        view = now
        if stage is None:
            cache.end_stage(FLEET)
            shown.end_stage(FLEET)
            staged = None
        else:
            cache.stage(FLEET, *stage)
            on = cache.staged(FLEET)
            assert on is not None
            shown.show(over_the_wire(difference(FLEET, staged, on.view, on.share)))
            staged = on.view
        for node in ("", *(f"envoy-{i}" for i in range(8))):
            assert content(copy.view(FLEET, node)) == content(cache.view(FLEET, node))


def over_the_wire(told: Show) -> Show:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Show)


@given(SNAPSHOTS, SNAPSHOTS, st.integers(0, 6))
def test_what_is_told_in_parts_is_shown_as_one(
    first: dict[str, dict[str, bytes]], second: dict[str, dict[str, bytes]], most: int
) -> None:
    cache, copy = SnapshotCache(), SnapshotCache()
    shown = Shown(copy)
    view: View | None = None
    for snapshot in (first, second):
        cache.set(FLEET, snapshot)
        now = cache.view(FLEET)
        assert now is not None
        before = content(copy.view(FLEET))
        *others, last = parts(difference(FLEET, view, now), most)
        for part in others:
            shown.show(over_the_wire(part))
            assert content(copy.view(FLEET)) == before
        shown.show(over_the_wire(last))
        view = now
        assert content(copy.view(FLEET)) == content(cache.view(FLEET))


def test_only_what_changed_is_told() -> None:
    cache = SnapshotCache()
    cache.set(FLEET, {"cds": {"a": b"1", "b": b"1", "c": b"1"}, "eds": {"a": b"1"}})
    before = cache.view(FLEET)
    cache.set(FLEET, {"cds": {"a": b"1", "b": b"2"}, "eds": {"a": b"1"}})
    now = cache.view(FLEET)
    assert now is not None
    told = difference(FLEET, before, now)
    assert told == Show(FLEET, ("cds", "eds"), {"cds": {"b": b"2"}}, {"cds": ("c",)})
