from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.observe.sampling import (
    ENTRIES,
    ENTRIES_PER_SERVICE,
    LEAST_PERCENT,
    SAMPLING_S,
    Sampling,
    sampling_percent,
)


def test_little_traffic_is_logged_whole() -> None:
    assert sampling_percent(rate_rps=200.0, services=1) == 100.0


def test_much_traffic_gives_a_few_hundred_entries_a_second_for_a_service() -> None:
    percent = sampling_percent(rate_rps=30_000.0, services=10)
    assert 30_000.0 * percent / 100 == pytest.approx(10 * ENTRIES_PER_SERVICE)


def test_very_many_services_share_what_we_can_read() -> None:
    percent = sampling_percent(rate_rps=1e6, services=1000)
    assert 1e6 * percent / 100 == pytest.approx(ENTRIES)


def test_the_percentage_in_force_stays_while_it_is_near_enough() -> None:
    percent = sampling_percent(rate_rps=6_000.0, services=1)
    assert percent == pytest.approx(5.0)
    assert sampling_percent(rate_rps=9_000.0, services=1, in_force=percent) == percent
    assert sampling_percent(rate_rps=3_500.0, services=1, in_force=percent) == percent
    assert sampling_percent(rate_rps=20_000.0, services=1, in_force=percent) < percent


def test_traffic_that_falls_is_logged_whole_again() -> None:
    assert sampling_percent(rate_rps=250.0, services=1, in_force=60.0) == 100.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_without_a_known_rate_nothing_changes(rate: float) -> None:
    assert sampling_percent(rate_rps=rate, services=3, in_force=7.0) == 7.0


@given(st.floats(0, 1e9), st.integers(0, 10_000), st.floats(LEAST_PERCENT, 100.0))
def test_it_is_never_zero_and_never_above_all(rate: float, services: int, force: float) -> None:
    assert LEAST_PERCENT <= sampling_percent(rate, services, force) <= 100.0


class Telemetry:
    """Reports of one service, and who reads its logs."""

    def __init__(self) -> None:
        self.rate_rps = 30_000.0
        self.asked: list[float] = []

    @property
    def access_logs(self) -> Telemetry:
        return self

    def sampled(self, percent: float) -> None:
        self.asked.append(percent)

    def rates_rps(self) -> list[float]:
        return [self.rate_rps, 0.0]


def test_rates_are_looked_at_so_often_and_whoever_reads_the_logs_is_told() -> None:
    now_s = 0.0
    telemetry = Telemetry()
    sampling = Sampling(telemetry, lambda: now_s)
    assert sampling.percent(100.0) == 1.0
    telemetry.rate_rps = 300.0
    assert sampling.percent(1.0) == 1.0  # too soon
    now_s = SAMPLING_S
    assert sampling.percent(1.0) == 100.0
    assert telemetry.asked == [1.0, 100.0]


def test_another_replica_may_say_it() -> None:
    telemetry = Telemetry()
    sampling = Sampling(telemetry, lambda: 0.0)
    for percent in (5.0, 5.0, 2.0):
        sampling.follow(percent)
    assert telemetry.asked == [5.0, 2.0]
    assert sampling.told == 2.0
