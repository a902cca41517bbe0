"""A queue that stands takes from what its group can do for others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.decide.backlog import DRAIN_S, MOST, left
from controlplane.decide.queueing import FULL, QueueingModel
from controlplane.decide.stations import Stations
from controlplane.model import Estimate, Situation
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing
from tests.unit.decide.worlds import ids, known, service, situation

CAPACITY = np.array([100.0, 100.0, 40.0, 40.0])
GROUPS = [0, 0, 1, 1]


def seen(in_flight: Floats | list[float], load: float = 0.9) -> Situation:
    """Two unlike groups with these requests in flight at each endpoint."""
    made = situation(known(CAPACITY, 0.05, load * float(CAPACITY.sum())), GROUPS)
    return replace(made, observation=replace(made.observation, in_flight=np.array(in_flight)))


def room(one: Situation, load: float = 0.9) -> Floats:
    """(2,) the capacity of each group that is left."""
    demand = np.array([load * float(CAPACITY.sum())])
    return np.asarray(left(Stations.of([one]), demand, FULL)[0])


def share(one: Situation) -> float:
    """Of the second group, as `model` has it."""
    return float(QueueingModel().propose([one])[0].shares[1])


def test_who_has_what_its_load_brings_keeps_its_capacity() -> None:
    assert room(seen([5.0, 5.0, 2.0, 2.0])) == pytest.approx([200.0, 80.0])
    assert room(seen([np.nan] * 4)) == pytest.approx([200.0, 80.0])


def test_a_backlog_is_a_demand_until_it_is_gone() -> None:
    few, many = (room(seen([5.0, 5.0, n, n]))[1] for n in (40.0, 50.0))
    assert few < 80.0
    # Another 20 in flight are served within the time, but for what noise and all have of it.
    assert 0.5 * 20.0 / DRAIN_S < few - many <= 20.0 / DRAIN_S
    assert room(seen([5.0, 5.0, 900.0, 900.0]))[1] == pytest.approx((1.0 - MOST) * 80.0)


def test_a_queue_that_all_have_alike_moves_nothing() -> None:
    crowd = seen(3.0 * CAPACITY)
    assert room(crowd) == pytest.approx([200.0, 80.0])
    assert share(crowd) == pytest.approx(share(seen([5.0, 5.0, 2.0, 2.0])), rel=1e-6)


def test_a_count_at_an_instant_may_be_a_little_more() -> None:
    servers, load = 0.05 * 80.0, 0.9
    usual = servers * load * (1.0 + float(queueing(np.array(load), servers)))
    for deviations, taken in ((0.9, False), (2.0, True)):
        each = (usual + deviations * usual**0.5) / 2.0
        assert bool(room(seen([5.0, 5.0, each, each]))[1] < 79.9) is taken


def test_the_model_sends_less_to_a_queue() -> None:
    quiet = share(seen([5.0, 5.0, 2.0, 2.0]))
    assert share(seen([5.0, 5.0, 40.0, 40.0])) < 0.85 * quiet


def test_of_what_is_not_known_in_requests_nothing_is_taken() -> None:
    unknown = situation(Estimate.unknown(ids(service(4))), GROUPS)  # type: ignore[arg-type]
    look = replace(unknown.observation, in_flight=np.array([1.0, 1.0, 500.0, 500.0]))
    shares = QueueingModel().propose([replace(unknown, observation=look)])[0].shares
    assert shares == pytest.approx([0.5, 0.5])
