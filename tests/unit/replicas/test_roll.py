"""Whose Envoys count, and for how long."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.front.programmed import MOST_REFUSALS, Taking, brief, programming
from controlplane.replicas.messages import Fleet, Frozen, Roll
from controlplane.replicas.roll import LOST_S, MOST_LOST, STALE_S, Member, RollCall
from tests.unit.replicas.scene import FLEET, VERSIONS, envoys


class Rig:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.versions = dict(VERSIONS)
        self.inherited: list[Mapping[str, Frozen]] = []
        self.roll = RollCall(lambda: self.now_s, lambda fleet: self.versions, self.inherited.append)

    def member(self, name: str = "b", **synced: bool) -> Member:
        member = self.roll.join(name)
        self.roll.hear(member, Roll({FLEET: Fleet(dict(VERSIONS), envoys(**synced))}))
        return member

    @property
    def waits(self) -> str:
        return self.roll.elsewhere(FLEET).waits


def test_all_of_all_replicas_must_have_taken_it() -> None:
    rig = Rig()
    rig.member("b", one=True, two=False)
    rig.member("c", three=True)
    far = programming((), rig.roll.elsewhere(FLEET).envoys)
    assert (far.envoys, far.taken, rig.waits) == (3, 2, "")


def test_an_envoy_with_streams_to_two_replicas_is_one() -> None:
    far = programming(
        (), [Taking("one", False, True), Taking("one", True, True), Taking("two", False, True)]
    )
    assert (far.envoys, far.taken) == (2, 1)
    far = programming((), [Taking("one", True, True), Taking("one", False, False, "cds: bad")])
    assert (far.envoys, far.taken, far.refusal) == (1, 0, "one refuses cds: bad")


def test_of_many_refusals_the_first_are_told_in_words() -> None:
    many = [Taking(f"envoy-{i:03}", True, False, f"cds: {'bad ' * 200}") for i in range(100)]
    told = brief(reversed(many))
    assert told[:MOST_REFUSALS] == many[:MOST_REFUSALS]
    assert {one.refusal for one in told[MOST_REFUSALS:]} == {"cds"}
    assert programming((), told).refusal == programming((), many).refusal


def test_nothing_is_said_of_a_replica_that_serves_another_version() -> None:
    rig = Rig()
    rig.member(one=True)
    rig.versions = {**VERSIONS, "t": "2"}
    assert "another version" in rig.waits


def test_a_replica_without_envoys_of_the_fleet_is_not_waited_for() -> None:
    rig = Rig()
    rig.member()
    rig.versions = {"t": "2"}
    assert rig.waits == ""


def test_a_silent_replica_makes_nothing_true_and_blocks_nothing_for_ever() -> None:
    rig = Rig()
    member = rig.member(one=True)
    rig.now_s += STALE_S
    assert "does not say" in rig.waits
    rig.roll.lose(member)  # its stream is ended
    assert "lost" in rig.waits
    rig.now_s += LOST_S - 0.1
    assert "lost" in rig.waits
    rig.now_s += 0.1
    assert rig.roll.elsewhere(FLEET) == rig.roll.elsewhere("another")
    assert rig.waits == ""


def test_a_replica_that_has_not_said_where_its_envoys_stand_is_waited_for() -> None:
    rig = Rig()
    member = rig.roll.join("b")
    rig.roll.hear(member)
    assert "has not said yet" in rig.waits


def test_whoever_takes_over_expects_those_that_followed_before() -> None:
    rig = Rig()
    rig.roll.expect(["b", "c"])
    assert rig.roll.names == []
    assert "replica b has not said yet" in rig.waits
    rig.member("b", one=True)
    assert "replica c has not said yet" in rig.waits
    rig.now_s += LOST_S  # which is gone as well
    rig.member("b", one=True)
    assert rig.waits == ""


def test_after_a_goodbye_its_envoys_are_not_waited_for() -> None:
    rig = Rig()
    member = rig.member(one=False)
    rig.roll.leave(member)
    rig.roll.lose(member)
    assert rig.roll.elsewhere(FLEET).envoys == ()
    assert (rig.waits, rig.roll.names) == ("", [])


def test_a_replica_that_comes_back_is_known_by_its_new_stream() -> None:
    rig = Rig()
    old = rig.member(one=False)
    new = rig.member(one=True)
    rig.roll.lose(old)
    rig.roll.hear(old, Roll({}, (FLEET,)))
    assert rig.roll.names == ["b"]
    assert rig.roll.elsewhere(FLEET).envoys == new.fleets[FLEET].envoys


def test_a_roll_says_what_differs() -> None:
    rig = Rig()
    member = rig.member(one=True)
    rig.roll.hear(member, Roll({}))
    assert len(rig.roll.elsewhere(FLEET).envoys) == 1
    rig.roll.hear(member, Roll({}, (FLEET,)))
    assert rig.roll.elsewhere(FLEET).envoys == ()


def test_of_replicas_that_were_lost_so_many_are_remembered() -> None:
    rig = Rig()
    for index in range(MOST_LOST + 10):
        rig.roll.lose(rig.member(f"b{index}", one=True))
        rig.now_s += 0.01
    assert len(rig.roll.elsewhere(FLEET).envoys) == MOST_LOST


def test_what_was_frozen_at_a_replica_that_is_gone_is_left_to_who_decides() -> None:
    rig = Rig()
    frozen = Frozen(None, {"web": "slow (by kim)"})

    def freezes(name: str) -> Member:
        member = rig.member(name)
        rig.roll.hear(member, Roll({}, (), frozen))
        return member

    lost, leaves, resumed = freezes("lost"), freezes("leaves"), freezes("resumed")
    rig.roll.lose(lost)
    rig.roll.leave(leaves)
    assert rig.inherited == [{"leaves": frozen}]
    rig.roll.hear(resumed, Roll({}, (), Frozen()))
    rig.roll.leave(resumed)
    rig.now_s += LOST_S - 0.1
    assert rig.roll.frozen() == {"lost": frozen}  # it may come back
    rig.now_s += 0.1
    assert rig.roll.frozen() == {}
    assert rig.inherited == [{"leaves": frozen}, {"lost": frozen}]


def test_a_replica_that_comes_back_has_not_resumed_anything() -> None:
    rig = Rig()
    frozen = Frozen("all (by kim)")
    rig.roll.hear(rig.member(), Roll({}, (), frozen))
    again = rig.member()
    assert rig.roll.frozen() == {"b": frozen}
    rig.roll.hear(again, Roll({}, (), Frozen()))
    assert rig.roll.frozen() == {"b": Frozen()}


def test_another_that_decides_hears_of_what_was_frozen_at_the_lost_from_us() -> None:
    rig = Rig()
    frozen = Frozen("all (by kim)")
    for name in ("there", "lost"):
        member = rig.member(name)
        rig.roll.hear(member, Roll({}, (), frozen))
    rig.roll.lose(member)
    rig.roll.clear()
    assert rig.inherited == [{"lost": frozen}]  # the other tells it by itself
