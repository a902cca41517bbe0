"""The simulator and the lab are told of a scenario by one description, and mean the same by it."""

from __future__ import annotations

import heapq
import math
from collections import deque

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.fidelity import Predictions, Row, case_of, table
from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.suite import SUITE, of_suite
from controlplane.lab.backends import BackendSpec, Event, Happening
from controlplane.lab.scenarios import Moment, Scenario, Spells, Stage, stage
from controlplane.lab.station import Job, Station
from policies.simulator import Algorithm

pytestmark = pytest.mark.learning
WARMUP_S = 5.0
ONE = BackendSpec(workers=4, speed=1.3)
PAUSES = Spells((0,), Happening.PAUSE, (1.0, 4.0), (0.1, 0.4), "it pauses")


class Alone:
    """The lab's backend and one Envoy, in virtual time."""

    def __init__(self, made: Stage) -> None:
        self.station: Station[int] = Station(ONE.workers, ONE.speed)
        self.took = np.full(len(made.schedule.at_s), math.nan)
        self._heap: list[tuple[float, int, Event | Job[int]]] = []
        self._puts = 0
        for event in made.events:
            self._put(event.at_s, event)
        schedule = made.schedule
        works = schedule.work_s.tolist()
        self._arrivals = deque(
            (at, Job(work, i))
            for i, (at, work) in enumerate(zip(schedule.at_s.tolist(), works, strict=True))
        )

    def run(self) -> None:
        while self._heap or self._arrivals:
            if self._arrivals and (not self._heap or self._arrivals[0][0] < self._heap[0][0]):
                now, job = self._arrivals.popleft()
                if self.station.arrive(job, now):
                    self._put(job.finish_s, job)
                continue
            now, _, what = heapq.heappop(self._heap)
            if isinstance(what, Job):
                self._finish(what, now)
            elif what.happening is Happening.PAUSE:
                self.station.pause(now, what.value)
            else:
                self.station.slowdown = what.value

    def _finish(self, job: Job[int], now: float) -> None:
        if job.finish_s > now + 1e-9:  # a pause moved it
            self._put(job.finish_s, job)
            return
        self.took[job.who] = now - job.arrived_s
        following = self.station.finish(job, now)
        if following is not None:
            self._put(following.finish_s, following)

    def _put(self, at_s: float, what: Event | Job[int]) -> None:
        heapq.heappush(self._heap, (at_s, self._puts, what))
        self._puts += 1


def played(made: Stage) -> NDArray[np.float64]:
    """Seconds that each counted request took."""
    alone = Alone(made)
    alone.run()
    return alone.took[made.schedule.counted]


def of_one(**fields: object) -> Stage:
    scenario = Scenario("one", "one backend", (ONE,), rate_rps=45.0, envoys=1, **fields)  # type: ignore[arg-type]
    return stage(scenario, seed=3, duration_s=60.0, envoys=1, warmup_s=WARMUP_S)


def predicted(made: Stage) -> tuple[float, float]:
    alone = Predictions([CONTESTANTS["full_scan"]])
    return alone.of(made, "full_scan", 1, warmup_s=WARMUP_S)


def test_the_same_requests_take_the_same_time_in_both() -> None:
    made = of_one()
    took = played(made)
    mean, p99 = predicted(made)
    assert mean == pytest.approx(took.mean(), rel=1e-6)
    assert p99 == pytest.approx(np.quantile(took, 0.99), rel=0.03)


def test_pauses_are_the_same_in_both() -> None:
    made = of_one(spells=(PAUSES,))
    took = played(made)
    assert took.mean() > 1.1 * played(of_one()).mean()
    assert predicted(made)[0] == pytest.approx(took.mean(), rel=0.005)


def test_slowness_is_nearly_the_same_in_both() -> None:
    """In the lab it is for what starts from then on, in the simulator for what is left, too."""
    made = of_one(
        moments=(Moment(0.3, 0, Happening.SLOW, 1.4), Moment(0.7, 0, Happening.SLOW, 1.0))
    )
    took = played(made)
    assert took.mean() > 1.1 * played(of_one()).mean()
    assert predicted(made)[0] == pytest.approx(took.mean(), rel=0.02)


@pytest.mark.parametrize("name", SUITE)
def test_every_scenario_of_the_arena_is_a_case(name: str) -> None:
    scenario = of_suite(name)
    made = stage(scenario, seed=2, duration_s=40.0, envoys=scenario.envoys, warmup_s=WARMUP_S)
    case = case_of(made, warmup_s=WARMUP_S, algorithm=Algorithm.CSWRR)
    assert case.proxies == scenario.envoys
    assert case.capacity_rps * scenario.work.mean_s == pytest.approx(
        sum(one.capacity for one in scenario.backends), rel=0.1
    )
    for at_s in (0.0, 20.0, 39.0):
        assert tuple(case.present(at_s + WARMUP_S).tolist()) == made.members(at_s)


def test_events_come_after_the_warm_up() -> None:
    scenario = of_suite("fast-fail")
    made = stage(scenario, seed=2, duration_s=40.0, envoys=4, warmup_s=WARMUP_S)
    ill = case_of(made, warmup_s=WARMUP_S, algorithm=Algorithm.FULL_SCAN).stations[2].fails
    assert [ill.at(t + WARMUP_S) for t in (19.9, 20.1, 29.9, 30.1)] == [0.0, 1.0, 1.0, 0.0]


def test_a_gap_is_shown_and_counted() -> None:
    rows = [
        Row("sparse", "cswrr", {"mean": 100.0, "p99": 400.0}, {"mean": 130.0, "p99": 400.0}),
        Row("sparse", "model", {"mean": 100.0, "p99": 400.0}, {"mean": 95.0, "p99": 300.0}),
        Row("fast-fail", "model", {"mean": 100.0, "p99": 400.0}, {"mean": 95.0, "p99": 390.0}),
    ]
    told = table(rows, "Two.")
    assert "**+30%**" in told
    assert "**-25%**" in told
    assert "2 of 3 means and 2 of 3 99th percentiles; " in told
    assert "every lane 1 of 2 scenarios. Two." in told
