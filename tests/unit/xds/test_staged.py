"""Pushes in stages: who gets what first, and what sends it back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from controlplane.errors import WeirError
from controlplane.model import Health, Snapshot, Zone
from controlplane.xds.cache import SnapshotCache
from controlplane.xds.effects import TypeStatus
from controlplane.xds.envelope import Node
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from controlplane.xds.staged import Outcome, Plan, StagedSink
from controlplane.xds.staging import place
from controlplane.xds.status import Client
from controlplane.xds.steps import Mode

FLEET = "edge"
NODES = sorted((f"envoy-{i}" for i in range(20)), key=place)
"""In the order in which they are taken."""
QUICK = Plan(shares=(0.2, 0.6), ack_s=5.0, bake_s=0.02, look_s=0.01)
DEADLINE_S = 10.0


@dataclass
class Fleet:
    """Envoys that take whatever the cache shows them, unless they are told otherwise."""

    cache: SnapshotCache
    nodes: list[str] = field(default_factory=lambda: list(NODES))
    refusing: dict[str, bytes] = field(default_factory=dict)
    """Node -> content of clusters that it refuses."""
    deaf: set[str] = field(default_factory=set)
    standing: dict[str, TypeStatus] = field(default_factory=dict)

    async def clients(self, fleet: str) -> Sequence[Client]:
        return self.look(fleet)

    def look(self, fleet: str) -> Sequence[Client]:
        return [self._client(fleet, node) for node in self.nodes]

    def _client(self, fleet: str, node: str) -> Client:
        view = self.cache.view(fleet, node)
        assert view is not None
        clusters, version = view[CLUSTER].by_name["a"].body, view[CLUSTER].version
        before = self.standing.get(node, TypeStatus(CLUSTER, True, 0, "", "", "", False))
        if node in self.deaf and before.acked_version not in ("", version):
            status = replace(before, sent_version=version, waiting=True)
        elif self.refusing.get(node) == clusters:
            status = replace(before, sent_version=version, nack="bad cluster", waiting=False)
        else:
            status = TypeStatus(CLUSTER, True, 0, version, version, "", False)
        self.standing[node] = status
        return Client(Node(node, fleet), fleet, Mode.DELTA, f"peer of {node}", 0.0, (status,))

    def shown(self, url: str = CLUSTER) -> dict[str, bytes]:
        """What each node is shown of `a`."""
        views = {node: self.cache.view(FLEET, node) for node in self.nodes}
        return {node: view[url].by_name["a"].body for node, view in views.items() if view}


def snapshot(clusters: bytes, weights: bytes = b"w1") -> Snapshot:
    return Snapshot(FLEET, {CLUSTER: {"a": clusters}, ENDPOINT: {"a": weights}})


@contextlib.asynccontextmanager
async def staged(
    plan: Plan = QUICK, verdict: Callable[..., object] | None = None
) -> AsyncIterator[tuple[StagedSink, Fleet]]:
    cache = SnapshotCache()
    fleet = Fleet(cache)
    sink = StagedSink(cache, fleet.clients, plan, verdict)  # type: ignore[arg-type]
    running = asyncio.create_task(sink.run())
    await asyncio.sleep(0)
    sink.publish(snapshot(b"1"))
    fleet.look(FLEET)
    try:
        yield sink, fleet
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def of(fleet: Fleet, body: bytes) -> list[str]:
    return [node for node, shown in fleet.shown().items() if shown == body]


async def test_the_first_snapshot_goes_to_all_at_once() -> None:
    async with staged() as (sink, fleet):
        assert set(fleet.shown().values()) == {b"1"}
        assert sink.share(FLEET) == 0.0


async def test_a_change_goes_to_a_share_then_to_more_then_to_all() -> None:
    async with staged() as (sink, fleet):
        seen: list[int] = []
        sink.publish(snapshot(b"2"))

        def looked() -> bool:
            seen.append(len(of(fleet, b"2")))
            return seen[-1] == len(NODES)

        await until(looked)
        first = sum(place(node) < 0.2 for node in NODES)
        second = sum(place(node) < 0.6 for node in NODES)
        assert 0 < first < second < len(NODES)
        assert sorted(set(seen) - {0}) == [first, second, len(NODES)]
        assert sink.outcomes == {Outcome.DONE: 1}
        assert sink.share(FLEET) == 0.0


async def test_a_refusal_takes_it_back_and_the_same_is_not_tried_again() -> None:
    async with staged() as (sink, fleet):
        fleet.refusing[NODES[1]] = b"bad"
        sink.publish(snapshot(b"bad"))
        await until(lambda: sink.outcomes[Outcome.REFUSED] == 1)
        assert set(fleet.shown().values()) == {b"1"}
        sink.publish(snapshot(b"bad", weights=b"w2"))
        assert sink.share(FLEET) == 0.0
        assert set(fleet.shown().values()) == {b"1"}
        assert set(fleet.shown(ENDPOINT).values()) == {b"w2"}
        sink.publish(snapshot(b"good"))
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)
        assert set(fleet.shown().values()) == {b"good"}


async def test_an_old_refusal_is_not_held_against_the_new_content() -> None:
    async with staged() as (sink, fleet):
        fleet.refusing[NODES[0]] = b"1"
        fleet.look(FLEET)
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes.total() == 1)
        assert sink.outcomes == {Outcome.DONE: 1}


async def test_who_does_not_take_it_in_time_takes_it_back() -> None:
    async with staged(replace(QUICK, ack_s=0.1)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes[Outcome.SILENT] == 1)
        assert set(fleet.shown().values()) == {b"1"}


async def test_envoys_that_vanish_with_it_take_it_back() -> None:
    async with staged(replace(QUICK, ack_s=0.1, bake_s=0.3)) as (sink, fleet):
        sink.publish(snapshot(b"2"))
        await until(lambda: bool(of(fleet, b"2")))
        fleet.nodes = [node for node in fleet.nodes if place(node) >= 0.2]
        await until(lambda: sink.outcomes[Outcome.SILENT] == 1)
        assert set(fleet.shown().values()) == {b"1"}


async def test_weights_go_to_all_while_a_change_is_on_its_way() -> None:
    async with staged(replace(QUICK, ack_s=60.0)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        sink.publish(snapshot(b"2"))
        await until(lambda: bool(of(fleet, b"2")))
        first = of(fleet, b"2")
        sink.publish(snapshot(b"2", weights=b"w2"))
        assert set(fleet.shown(ENDPOINT).values()) == {b"w2"}
        assert of(fleet, b"2") == first
        assert sink.outcomes.total() == 0


async def test_the_old_clusters_keep_their_assignments_until_they_are_gone_everywhere() -> None:
    async with staged(replace(QUICK, ack_s=60.0)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        moved = Snapshot(FLEET, {CLUSTER: {"a": b"2"}, ENDPOINT: {"b": b"w"}})
        sink.publish(moved)
        await until(lambda: bool(of(fleet, b"2")))
        for node in (NODES[0], NODES[-1]):
            view = fleet.cache.view(FLEET, node)
            assert view is not None
            assert view[ENDPOINT].by_name.keys() == {"a", "b"}
        fleet.deaf.clear()
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)
        view = fleet.cache.view(FLEET)
        assert view is not None
        assert view[ENDPOINT].by_name.keys() == {"b"}


async def test_what_is_told_by_place_goes_to_both_sides_and_the_old_clusters_keep_it() -> None:
    eu = Zone("eu")

    def shown(cache: SnapshotCache, node: str) -> dict[str, bytes]:
        view = cache.view(FLEET, node, eu)
        assert view is not None
        return {name: one.body for name, one in view[ENDPOINT].by_name.items()}

    async with staged(replace(QUICK, ack_s=60.0)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        sink.publish(replace(snapshot(b"1"), by_place={eu: {"a": b"near"}}))
        assert shown(fleet.cache, NODES[0]) == {"a": b"near"}
        moved = Snapshot(FLEET, {CLUSTER: {"a": b"2"}, ENDPOINT: {"b": b"w"}}, {eu: {"b": b"n"}})
        sink.publish(moved)
        await until(lambda: bool(of(fleet, b"2")))
        for node in (NODES[0], NODES[-1]):
            assert shown(fleet.cache, node) == {"a": b"near", "b": b"n"}
        sink.publish(replace(moved, by_place={}))
        for node in (NODES[0], NODES[-1]):
            assert shown(fleet.cache, node) == {"a": b"near", "b": b"w"}
        fleet.deaf.clear()
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)
        assert shown(fleet.cache, NODES[0]) == {"b": b"w"}


async def test_a_newer_change_replaces_the_one_that_is_on_its_way() -> None:
    async with staged(replace(QUICK, ack_s=60.0)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        sink.publish(snapshot(b"2"))
        await until(lambda: bool(of(fleet, b"2")))
        fleet.deaf.clear()
        sink.publish(snapshot(b"3"))
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)
        assert sink.outcomes[Outcome.REPLACED] == 1
        assert set(fleet.shown().values()) == {b"3"}


async def test_going_back_to_what_all_have_ends_it_at_once() -> None:
    async with staged(replace(QUICK, ack_s=60.0)) as (sink, fleet):
        fleet.deaf.add(NODES[0])
        sink.publish(snapshot(b"2"))
        await until(lambda: bool(of(fleet, b"2")))
        sink.publish(snapshot(b"1"))
        assert set(fleet.shown().values()) == {b"1"}
        assert sink.share(FLEET) == 0.0


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([Health.GOOD], Outcome.DONE),
        ([Health.GOOD, Health.BAD], Outcome.UNHEALTHY),
        ([Health.UNKNOWN], Outcome.NO_VERDICT),
        ([Health.UNKNOWN, Health.UNKNOWN, Health.UNKNOWN, Health.GOOD], Outcome.DONE),
        ([ValueError("no numbers")], Outcome.NO_VERDICT),
    ],
)
async def test_the_verdict_on_their_health_decides(
    said: list[Health | Exception], outcome: Outcome
) -> None:
    asked: list[Sequence[str]] = []

    async def verdict(fleet: str, nodes: Sequence[str], since_s: float) -> Health:
        asked.append(nodes)
        answer = said[min(len(asked), len(said)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with staged(replace(QUICK, bake_s=0.2), verdict) as (sink, fleet):
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes.total() == 1)
        assert sink.outcomes == {outcome: 1}
        assert set(fleet.shown().values()) == {b"2" if outcome is Outcome.DONE else b"1"}
        assert set(asked[0]) == {node for node in NODES if place(node) < 0.2}


async def test_a_small_share_takes_in_at_least_one_envoy() -> None:
    async with staged(replace(QUICK, shares=(1e-6,), ack_s=60.0)) as (sink, fleet):
        fleet.deaf.update(NODES)
        sink.publish(snapshot(b"2"))
        await until(lambda: bool(of(fleet, b"2")))
        assert of(fleet, b"2") == [NODES[0]]


async def test_a_fleet_that_nobody_is_connected_of_is_not_waited_for() -> None:
    async with staged() as (sink, fleet):
        fleet.nodes = []
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)


def test_shares_that_do_not_grow_are_refused_in_words() -> None:
    for wrong in ((0.5, 0.1), (0.0,), (1.0,), (0.1, 0.1)):
        with pytest.raises(ValueError, match=r"growing shares above 0 and below 1"):
            Plan(shares=wrong)


def test_a_larger_share_takes_more_nodes_and_lets_none_go() -> None:
    small, large = ({node for node in NODES if place(node) < share} for share in (0.3, 0.7))
    assert small < large


async def test_envoys_of_the_stage_that_vanish_take_it_back() -> None:
    async with staged(replace(QUICK, ack_s=0.3, bake_s=0.2)) as (sink, fleet):
        sink.publish(snapshot(b"crash"))
        await until(lambda: bool(of(fleet, b"crash")))
        fleet.nodes = [node for node in fleet.nodes if node not in of(fleet, b"crash")[1:]]
        await until(lambda: sink.outcomes[Outcome.SILENT] == 1)
        assert set(fleet.shown().values()) == {b"1"}


async def test_while_nobody_can_tell_how_envoys_stand_nothing_goes_on() -> None:
    async with staged(replace(QUICK, ack_s=0.2)) as (sink, fleet):

        async def untold(name: str) -> Sequence[Client]:
            raise WeirError("a worker does not answer")

        told, sink.clients = sink.clients, untold
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes[Outcome.NO_VERDICT] == 1)
        assert set(fleet.shown().values()) == {b"1"}
        sink.clients = told
        sink.publish(snapshot(b"3"))
        await until(lambda: bool(of(fleet, b"3")))
        sink.clients = untold
        await until(lambda: sink.outcomes[Outcome.SILENT] == 1)
        assert set(fleet.shown().values()) == {b"1"}


async def test_who_has_it_keeps_it_when_another_envoy_connects_between_two_stages() -> None:
    low, high = sorted(NODES, key=place)[1::9][:2]
    async with staged(replace(QUICK, shares=(0.001, 0.002), bake_s=0.05)) as (sink, fleet):
        fleet.nodes = [high]
        sink.publish(snapshot(b"2"))
        await until(lambda: of(fleet, b"2") == [high])
        fleet.nodes = [low, high]
        seen: set[bytes] = set()

        def ended() -> bool:
            seen.add(fleet.shown()[high])
            return bool(sink.outcomes)

        await until(ended)
        assert seen == {b"2"}


async def test_a_stream_without_a_node_id_is_shown_no_stage_and_not_waited_for() -> None:
    async with staged(replace(QUICK, shares=(0.95,))) as (sink, fleet):
        fleet.nodes = [*fleet.nodes, ""]
        sink.publish(snapshot(b"2"))
        await until(lambda: sink.outcomes[Outcome.DONE] == 1)
