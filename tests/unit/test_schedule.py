from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.model import ServiceName
from controlplane.schedule import TOGETHER_S, Schedule

A, B = ServiceName("default/a"), ServiceName("default/b")


def test_services_of_one_interval_are_due_together_whenever_they_were_declared() -> None:
    schedule = Schedule()
    schedule.keep(A, 1.0, now_s=10.1)
    schedule.keep(B, 1.0, now_s=10.9)
    assert schedule.take(10.95) == []
    assert sorted(schedule.take(11.0)) == [A, B]


def test_each_service_keeps_its_own_interval() -> None:
    schedule = Schedule()
    schedule.keep(A, 1.0, 0.0)
    schedule.keep(B, 5.0, 0.0)
    taken = [name for second in range(1, 11) for name in schedule.take(float(second))]
    assert (taken.count(A), taken.count(B)) == (10, 2)


def test_a_late_tick_skips_what_it_missed_instead_of_catching_up() -> None:
    schedule = Schedule()
    schedule.keep(A, 1.0, 0.0)
    assert schedule.take(7.5) == [A]
    assert schedule.take(7.6) == []
    assert schedule.take(8.0) == [A]
    assert schedule.missed == 6


def test_a_dropped_service_is_never_due_again() -> None:
    schedule = Schedule()
    schedule.keep(A, 1.0, 0.0)
    schedule.drop(A)
    assert schedule.take(100.0) == []
    assert schedule.wait_s(100.0, at_most_s=3.0) == 3.0


def test_a_new_interval_takes_the_place_of_the_old_one() -> None:
    schedule = Schedule()
    schedule.keep(A, 1.0, 0.0)
    schedule.keep(A, 10.0, 0.5)
    assert schedule.take(9.0) == []
    assert schedule.take(10.0) == [A]


@given(st.lists(st.floats(0.0, 3.0), max_size=50), st.floats(0.1, 10.0))
def test_a_service_is_never_due_twice_within_an_interval(
    steps: list[float], interval_s: float
) -> None:
    schedule = Schedule()
    schedule.keep(A, interval_s, 0.0)
    now_s, slots = 0.0, []
    for step in steps:
        now_s += step
        if schedule.take(now_s):
            slots.append(int((now_s + TOGETHER_S) / interval_s + 1e-9))
    assert len(slots) == len(set(slots))
