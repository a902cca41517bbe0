from __future__ import annotations

import pytest

from controlplane.errors import ConfigurationError
from controlplane.lab.scenarios import SCENARIOS, scenario_named, stage


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_can_be_played_and_leaves_room(name: str) -> None:
    scenario = scenario_named(name)
    made = stage(scenario, seed=1, duration_s=20.0, envoys=4, warmup_s=5.0)
    assert len(made.schedule.at_s) > 500
    assert all(0.0 < event.at_s < 20.0 for event in made.events)
    assert all(event.backend < len(scenario.backends) for event in made.events)
    peak = max((factor for _, factor, _ in scenario.profile), default=1.0)
    assert scenario.load * peak < 0.9


def test_the_demo_has_eight_unlike_backends_of_which_one_turns_slow_half_way() -> None:
    made = stage(scenario_named("demo"), seed=1, duration_s=60.0, envoys=12)
    assert len({one.speed for one in made.scenario.backends}) == 3
    assert [(event.at_s, event.happening) for event in made.events] == [(30.0, "slow")]
    assert made.announcements[0][0] == 30.0


def test_the_same_seed_gives_every_length_of_run_the_same_start() -> None:
    one, two = (
        stage(scenario_named("demo"), seed=3, duration_s=s, envoys=12).schedule for s in (10, 20)
    )
    assert one.at_s.tolist() == pytest.approx(two.at_s[: len(one.at_s)].tolist())


def test_a_scenario_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match="there are: demo, homogeneous"):
        scenario_named("demmo")
