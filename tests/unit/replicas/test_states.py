"""What one replica hands over is what the other has, whatever their clocks say."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from controlplane.model import Estimate
from controlplane.replicas import messages as m
from controlplane.replicas.states import handover as read
from controlplane.replicas.states import state
from tests.unit.replicas.scene import handover


def travelled(told: m.Told) -> m.State:
    (one,) = m.down(m.encoded(told)).states
    return one


def test_it_arrives_to_the_bit_and_times_on_the_clock_of_the_reader() -> None:
    sent = handover()
    got = read(travelled(m.Told(3, 100.0, (state(sent, 100.0),))), 5000.0)
    assert got.last.grouping.same_as(sent.last.grouping)
    assert got.last.weights == sent.last.weights
    assert got.last.places == sent.last.places
    np.testing.assert_array_equal(got.last.shares, sent.last.shares)
    np.testing.assert_array_equal(got.first_seen_s, [-np.inf, 4990.0, 4999.5])
    assert (got.pushed_s, got.regrouped_s, got.wanted_since_s) == (4995.0, -np.inf, 4960.0)
    assert got.estimate.endpoints == sent.estimate.endpoints
    assert got.estimate.at_s == 4998.0
    np.testing.assert_array_equal(got.estimate.table, sent.estimate.table)
    np.testing.assert_array_equal(got.estimate.shared, sent.estimate.shared)
    assert got.wanted.same_as(sent.wanted)
    assert (got.seen_enough, got.reasons) == (sent.seen_enough, sent.reasons)


def test_groups_that_are_those_in_force_are_told_once() -> None:
    sent = handover()
    sent = replace(sent, wanted=sent.last.grouping)
    told = state(sent, 100.0)
    assert told.wanted is None
    assert read(told, 100.0).wanted.same_as(sent.last.grouping)


def test_what_another_release_believes_in_another_shape_is_not_believed() -> None:
    told = msgspec.structs.replace(state(handover(), 100.0), table=b"\0" * 16)
    got = read(told, 100.0)
    fresh = Estimate.unknown(got.estimate.endpoints)
    np.testing.assert_array_equal(got.estimate.table, fresh.table)
    assert got.last.weights == handover().last.weights


@pytest.mark.parametrize(
    "wrong",
    [
        {"document": "{"},
        {"document": '{"version":1}'},
        {"arrived_s": b"\0" * 8},
        {"wanted": m.Groups(("a",), ("g",), (1,), True)},
        {"wanted": m.Groups(("a",), ("g", "h"), (0,), True)},
    ],
)
def test_a_state_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(msgspec.structs.replace(state(handover(), 100.0), **wrong), 100.0)


@pytest.mark.parametrize("age_s", [-5.0, float("nan")])
def test_an_age_that_makes_no_sense_is_from_the_start(age_s: float) -> None:
    told = msgspec.structs.replace(state(handover(), 100.0), pushed_s=age_s)
    assert read(told, 100.0).pushed_s == -np.inf


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81", m.encoded(m.Told(1, 1.0)), b"\x91" * 5000])
def test_what_is_no_message_of_a_replica_is_refused(body: bytes) -> None:
    with pytest.raises(m.UnreadableError):
        m.up(body)


def test_what_a_later_release_adds_is_ignored() -> None:
    raw = msgspec.msgpack.decode(m.encoded(m.Hello(1, "b", 7)))
    assert m.up(msgspec.msgpack.encode({**raw, "more": [1]})) == m.Hello(1, "b", 7)
