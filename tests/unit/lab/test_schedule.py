from __future__ import annotations

import numpy as np
import pytest

from controlplane.lab.schedule import Arrivals, Schedule, WorkMix, draw_schedule


def draw(seed: int = 1, arrivals: Arrivals | None = None, duration_s: float = 100.0) -> Schedule:
    return draw_schedule(
        seed,
        arrivals or Arrivals(200.0),
        WorkMix(),
        duration_s=duration_s,
        envoys=5,
        warmup_s=10.0,
    )


def test_a_seed_gives_the_same_schedule_each_time() -> None:
    one, two = draw(), draw()
    assert np.array_equal(one.at_s, two.at_s)
    assert np.array_equal(one.work_s, two.work_s)
    assert np.array_equal(one.envoy, two.envoy)


def test_another_seed_gives_another_schedule() -> None:
    assert not np.array_equal(draw(1).at_s[:100], draw(2).at_s[:100])


def test_what_comes_first_does_not_depend_on_how_long_it_goes_on() -> None:
    short, long = draw(duration_s=10.0), draw(duration_s=100.0)
    assert np.allclose(short.at_s, long.at_s[: len(short.at_s)])


def test_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    at_s = draw(duration_s=500.0).at_s
    gaps = np.diff(at_s)
    assert 1 / gaps.mean() == pytest.approx(200.0, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.03)


def test_requests_before_zero_are_not_counted() -> None:
    schedule = draw()
    assert schedule.at_s[0] < -9.0
    assert (~schedule.counted).sum() == pytest.approx(2000, rel=0.1)


def test_the_work_has_the_mean_of_its_mix_and_all_envoys_are_asked_alike() -> None:
    schedule = draw(duration_s=500.0)
    assert schedule.work_s.mean() == pytest.approx(WorkMix().mean_s, rel=0.02)
    assert WorkMix().mean_s == pytest.approx(0.080)
    parts = np.bincount(schedule.envoy) / len(schedule.envoy)
    assert parts == pytest.approx(np.full(5, 0.2), abs=0.01)


def test_a_profile_scales_the_rate_from_its_moment_on() -> None:
    at_s = draw(arrivals=Arrivals(200.0, ((40.0, 0.25), (60.0, 2.0)))).at_s
    counts = [((at_s >= a) & (at_s < b)).sum() for a, b in ((0, 40), (40, 60), (60, 100))]
    assert counts == pytest.approx([8000, 1000, 16_000], rel=0.1)


def test_bursts_keep_the_mean_rate_and_widen_its_spread() -> None:
    calm, bursty = (
        draw(arrivals=Arrivals(200.0, burst_factor=factor), duration_s=1000.0).at_s
        for factor in (1.0, 1.8)
    )
    assert len(bursty) == pytest.approx(len(calm), rel=0.15)
    spreads = [np.histogram(at_s, 1000)[0].var() for at_s in (calm, bursty)]
    assert spreads[1] > 10 * spreads[0]


@pytest.mark.parametrize("wrong", [{"rate_rps": 0.0}, {"rate_rps": 1.0, "burst_factor": 3.0}])
def test_arrivals_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want a rate"):
        Arrivals(**wrong)  # type: ignore[arg-type]


def test_a_mix_whose_parts_do_not_sum_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        WorkMix((0.1, 0.2), (0.5, 0.6))


def test_more_requests_than_can_be_held_are_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        draw(arrivals=Arrivals(1e6))


def test_a_schedule_out_of_order_or_of_an_unknown_envoy_is_refused() -> None:
    two = np.array([0.1, 0.1])
    with pytest.raises(ValueError, match="in order"):
        Schedule(np.array([1.0, 0.0]), two, np.array([0, 0]), 2.0, 1)
    with pytest.raises(ValueError, match=r"outside 0\.\.0"):
        Schedule(np.array([0.0, 1.0]), two, np.array([0, 1]), 2.0, 1)
