from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from controlplane.lab.station import Job, Station


def responses(arrivals: list[tuple[float, float]], workers: int, speed: float = 1.0) -> list[float]:
    """Plays (arrival, work) in virtual time; the time from arrival to end of each, in order."""
    station: Station[int] = Station(workers, speed)
    ends: list[tuple[float, int, Job[int]]] = []
    took = [math.nan] * len(arrivals)

    def finish_until(now: float) -> None:
        while ends and ends[0][0] <= now:
            at, i, job = heapq.heappop(ends)
            took[i] = at - job.arrived_s
            following = station.finish(job, at)
            if following is not None:
                heapq.heappush(ends, (following.finish_s, following.who, following))

    for i, (at, work) in enumerate(arrivals):
        finish_until(at)
        job = Job(work, i)
        if station.arrive(job, at):
            heapq.heappush(ends, (job.finish_s, i, job))
    finish_until(math.inf)
    return took


def test_one_worker_serves_in_order_of_arrival() -> None:
    assert responses([(0.0, 1.0), (0.1, 1.0), (0.2, 0.5)], workers=1) == pytest.approx(
        [1.0, 1.9, 2.3]
    )


def test_as_many_as_there_are_workers_are_served_at_once() -> None:
    assert responses([(0.0, 1.0), (0.0, 2.0), (0.0, 1.0)], workers=2) == pytest.approx(
        [1.0, 2.0, 2.0]
    )


def test_a_faster_backend_takes_less_time_for_the_same_work() -> None:
    assert responses([(0.0, 1.0)], workers=1, speed=4.0) == pytest.approx([0.25])


@pytest.mark.parametrize(("workers", "load"), [(1, 0.7), (4, 0.8)])
def test_the_queue_is_that_of_erlang(workers: int, load: float) -> None:
    """M/M/c: the mean response time of a long run is Erlang's within 4 %."""
    rng = np.random.default_rng(7)
    count = 200_000
    times = np.cumsum(rng.exponential(1.0 / (load * workers), count)).tolist()
    works = rng.exponential(1.0, count).tolist()
    measured = float(np.mean(responses(list(zip(times, works, strict=True)), workers)))
    offered = load * workers
    tail = offered**workers / math.factorial(workers) / (1 - load)
    waits = tail / (sum(offered**k / math.factorial(k) for k in range(workers)) + tail)
    expected = 1.0 + waits / (workers * (1 - load))
    assert measured == pytest.approx(expected, rel=0.04)


def test_a_slow_backend_takes_longer_for_what_starts_from_then_on() -> None:
    station: Station[str] = Station(1, 1.0)
    before, after = Job(1.0, "before"), Job(1.0, "after")
    assert station.arrive(before, 0.0)
    station.slowdown = 3.0
    assert station.arrive(after, 0.5) is False
    assert before.finish_s == 1.0
    assert station.finish(before, 1.0) is after
    assert after.finish_s == pytest.approx(4.0)


def test_a_pause_holds_what_is_in_service_and_what_comes() -> None:
    station: Station[str] = Station(2, 1.0)
    running, coming = Job(1.0, "running"), Job(1.0, "coming")
    station.arrive(running, 0.0)
    station.pause(0.5, 2.0)
    assert running.finish_s == pytest.approx(3.0)
    station.arrive(coming, 1.0)
    assert coming.finish_s == pytest.approx(3.5)


def test_a_client_that_leaves_the_queue_is_not_served() -> None:
    station: Station[str] = Station(1, 1.0)
    first, gone, third = Job(1.0, "first"), Job(1.0, "gone"), Job(1.0, "third")
    for job in (first, gone, third):
        station.arrive(job, 0.0)
    station.drop(gone)
    station.drop(gone)
    station.drop(first)  # in service: it is finished
    assert station.queued == 1
    assert station.finish(first, 1.0) is third
    assert station.queued == 0
    assert station.finish(third, 2.0) is None


def test_a_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.lab.station.MAX_QUEUE", 1)
    station: Station[int] = Station(1, 1.0)
    assert [station.arrive(Job(1.0, i), 0.0) for i in range(3)] == [True, False, None]


def test_a_station_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        Station(0, 1.0)
