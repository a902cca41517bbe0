"""The league: held out, the same requests for all, gone on with, and judged as it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controlplane.errors import PolicyLoadError, WeirError
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.league.match import Got, Played, play
from policies.league.players import (
    BOUND,
    FULL_SCAN,
    MODEL,
    P2C,
    PID,
    everybody,
    installed,
    registry,
    released,
    those,
)
from policies.league.results import Interval, Results
from policies.league.suite import LEAGUE_SEEDS, RELEASE_SEEDS, SPREAD, Fixture, Suite, peak_load
from policies.league.targets import TARGETS, Scenario, Verdict, scenarios, targets, worst
from policies.league.tournament import fingerprint, tournament
from policies.league.written import BEST
from policies.simulator import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    TRAINING_ENDPOINTS,
    Algorithm,
    Simulation,
    Size,
    one_group,
    scenario,
)

pytestmark = pytest.mark.learning

SMALL = Suite(("homogeneous", "hardware_4x"), (0.5, 0.7), ((4, 2),), seeds=1)


# --- the suite ------------------------------------------------------------------------------------


def test_the_suite_has_every_family_load_size_and_seed_once() -> None:
    suite = Suite(seeds=2)
    fixtures = [one for fixtures in suite.rounds() for one in fixtures]
    assert len({one.key for one in fixtures}) == len(fixtures) == len(suite)
    assert {one.family for one in fixtures} == set(FAMILIES)
    assert len(suite) == len(FAMILIES) * len(suite.loads) * len(suite.sizes) * 2


def test_a_family_that_is_named_twice_does_not_count_twice() -> None:
    with pytest.raises(ValueError, match="each once"):
        Suite(("sparse", "bursty", "sparse"))
    with pytest.raises(ValueError, match="some families"):
        Suite(())


def test_the_league_has_seeds_that_neither_training_nor_a_release_has() -> None:
    def seeds(suite: Suite) -> set[int]:
        return {one.seed for fixtures in suite.rounds() for one in fixtures}

    league, releases = seeds(Suite()), seeds(Suite(first_seed=RELEASE_SEEDS, seeds=SPREAD))
    assert min(releases) >= HELD_OUT_SEEDS
    assert max(releases) < LEAGUE_SEEDS <= min(league)
    with pytest.raises(ValueError, match="training"):
        Suite(first_seed=7)


def test_what_is_held_out_is_said() -> None:
    kinds = {
        one.held_out: (one.family, one.endpoints)
        for fixtures in Suite().rounds()
        for one in fixtures
    }
    assert kinds["families"][0] in HELD_OUT_FAMILIES
    assert kinds["sizes"][1] not in TRAINING_ENDPOINTS
    assert kinds["seeds"][1] in TRAINING_ENDPOINTS


def test_loads_of_a_service_are_the_same_service_and_sizes_share_none() -> None:
    low, high = (replace(Fixture("sparse", 0.5, 8, 4, 9), load=load).case() for load in (0.5, 0.95))
    assert low.stations == high.stations
    assert low.work == high.work
    by_service: dict[int, set[str]] = {}
    for fixtures in Suite(("sparse",)).rounds():
        for one in fixtures:
            by_service.setdefault(one.seed, set()).add(one.service)
    assert all(len(services) == 1 for services in by_service.values())


def test_telemetry_is_never_better_than_the_family_has_it() -> None:
    for fixtures in Suite(("lossy_telemetry",), seeds=3).rounds():
        for one in fixtures:
            case = one.case()
            assert case.sampling == 0.1
            assert case.delay_s >= 0.4


def test_a_load_is_the_peak_load_where_nothing_happens_and_a_crowd_is_above() -> None:
    def peak(family: str, load: float) -> float:
        return peak_load(scenario(family, seed=1, size=Size(8, 4, load, 40.0)))

    assert peak("homogeneous", 0.85) == pytest.approx(0.85)
    # By definition 0.6 x load outside of the crowd, 1.6 to 2.2 times that in it.
    assert 0.96 <= peak("flash_crowd", 0.5) / 0.5 <= 1.33
    assert 1.4 * 0.7 <= peak("bursty", 0.7) <= 2.0 * 0.7
    # A day is in steps of less than the window: at most its highest, at the load itself.
    assert 0.98 * 0.85 <= peak("diurnal", 0.85) <= 0.85


def test_endpoints_that_are_not_there_yet_are_no_capacity() -> None:
    case = scenario("homogeneous", seed=1, size=Size(4, 2, 0.6, 40.0))
    half = [replace(one, joins_s=20.0) for one in case.stations[:2]]
    assert peak_load(replace(case, stations=(*half, *case.stations[2:]))) == pytest.approx(1.2)


# --- the players ----------------------------------------------------------------------------------


def test_every_algorithm_of_the_simulator_and_every_released_policy_plays() -> None:
    playing = everybody()
    assert {one.algorithm for one in playing if one.policy is None} == set(Algorithm)
    assert [one.name for one in installed()] == ["learned"]
    assert {"pid", "capacity", "model", "learned"} <= {one.policy for one in playing}


def test_two_releases_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two players are called x"):
        everybody([released("x", Path("a/x")), released("x", Path("b/x"))])


def test_a_release_that_cannot_be_loaded_is_refused_before_anything_is_played(
    tmp_path: Path,
) -> None:
    players = (*those([FULL_SCAN]), released("candidate", tmp_path))
    with pytest.raises(PolicyLoadError, match="manifest"):
        tournament(SMALL, players, tmp_path / "journal", jobs=1)


# --- a match --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages() -> Stages:
    return Stages.installed()


def test_stock_envoy_in_the_league_is_the_simulator_left_alone(stages: Stages) -> None:
    (fixture,) = next(Suite(("scale_out",), (0.7,), ((8, 4),), 1).rounds())
    players = those([FULL_SCAN, P2C])
    found = play([fixture], players, stages, registry(stages, players))[0]
    for player in players:
        case = fixture.case()
        balancing = replace(case.balancing, algorithm=player.algorithm)
        run = Simulation(replace(case, balancing=balancing), fixture.seed)
        # Not even looked at, but for the endpoints that come: they come a tick after they joined.
        joined = max(one.joins_s for one in case.stations)
        run.advance(10.0)
        if np.ceil(joined) > 10.0:
            run.outcome()
        run.advance(float(np.ceil(joined)))
        run.split(one_group(case, run.now_s), np.ones(1))
        if np.ceil(joined) <= 10.0:
            run.advance(10.0)
            run.outcome()
        run.advance(case.duration_s)
        run.drain()
        assert Got.of(run.outcome()) == found.got[player.name]


def test_who_else_is_played_beside_it_changes_nothing(stages: Stages) -> None:
    players = those([FULL_SCAN, MODEL])
    policies = registry(stages, players)
    fixtures = [one for fixtures in SMALL.rounds() for one in fixtures]
    together = play(fixtures, players, stages, policies)
    alone = [play([one], players, stages, policies)[0] for one in fixtures]
    assert together == alone
    assert len({one.got[FULL_SCAN].requests for one in together}) == len(fixtures)
    for one in together:  # open loop: the same requests for every player
        assert one.got[FULL_SCAN].requests == one.got[MODEL].requests


def test_an_actuation_is_held_to_when_endpoints_come(stages: Stages) -> None:
    case = scenario("homogeneous", seed=1, size=Size(4, 2, 0.5, 8.0))
    late = (*case.stations[:-1], replace(case.stations[-1], joins_s=3.0))
    players = those([PID])
    lockstep = Lockstep(
        stages,
        registry(stages, players),
        [(replace(case, stations=late), 1, players[0].policy)],
        actuation=players[0].actuation,
    )
    known = []
    for _ in range(6):
        (decided,) = lockstep.look()
        assert not decided.situation.grouping.by_locality
        known.append(len(decided.situation.grouping.endpoints))
        lockstep.act([decided], [decided.proposal])
    assert known == [3, 3, 4, 4, 4, 4]


# --- a tournament ---------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_a_tournament_goes_on_where_it_stopped(tmp_path: Path) -> None:
    players = those([FULL_SCAN, MODEL])
    whole = tournament(SMALL, players, tmp_path / "whole", jobs=1)
    seen: list[int] = []

    def stop(done: int, of: int) -> None:
        seen.append(done)
        if 0 < done < of:
            raise Stopped

    with pytest.raises(Stopped):
        tournament(SMALL, players, tmp_path / "parts", jobs=1, progress=stop)
    with (tmp_path / "parts").open("a") as journal:
        journal.write('{"fixture": {"family"')  # killed while it wrote
    again: list[int] = []
    found = tournament(
        SMALL, players, tmp_path / "parts", jobs=1, progress=lambda done, _: again.append(done)
    )
    assert seen == [0, 2]
    assert again == [2, 4]
    assert found == whole
    assert tournament(SMALL, players, tmp_path / "parts", jobs=1) == whole


def test_processes_play_as_one_does(tmp_path: Path) -> None:
    players = those([FULL_SCAN])
    one = tournament(SMALL, players, tmp_path / "one", jobs=1)
    assert tournament(SMALL, players, tmp_path / "two", jobs=2) == one


def test_a_journal_that_is_read_again_is_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it is made ready for more, it has what it had."""
    journal, suite = tmp_path / "journal", replace(SMALL, families=("homogeneous",), loads=(0.5,))
    tournament(suite, those([P2C]), journal, jobs=1)
    whole = journal.read_text()
    with journal.open("a") as lines:
        lines.write('{"fixture"')

    def killed(draft: Path, place: Path) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("policies.league.written.os.replace", killed)
        with pytest.raises(Stopped):
            tournament(suite, those([P2C]), journal, jobs=1)
    assert journal.read_text().startswith(whole)


def test_a_journal_of_other_players_is_begun_anew_and_something_else_is_not_written_over(
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    suite = replace(SMALL, families=("homogeneous",), loads=(0.5,))
    tournament(suite, those([FULL_SCAN]), journal, jobs=1)
    seen: list[int] = []
    (other,) = tournament(
        suite, those([P2C]), journal, jobs=1, progress=lambda n, _: seen.append(n)
    )
    assert seen == [0, 1]
    assert set(other.got) == {P2C}
    assert len(journal.read_text().splitlines()) == 2
    before = journal.read_text()
    journal.write_text(before + "[]\n" + before.splitlines()[1] + "\n")
    with pytest.raises(WeirError, match="a line that is no case"):
        tournament(suite, those([P2C]), journal, jobs=1)
    journal.write_text("my notes\n")
    with pytest.raises(WeirError, match="no journal of a league"):
        tournament(suite, those([FULL_SCAN]), journal, jobs=1)
    assert journal.read_text() == "my notes\n"
    ours = installed()
    copy = [replace(ours[0], algorithm=Algorithm.LEAST_REQUEST)]
    assert fingerprint(ours) != fingerprint(copy)


# --- verdicts -------------------------------------------------------------------------------------

EVERYBODY = everybody([released("learned")])


def made_up(
    times: Mapping[str, float],
    *,
    family: str = "sparse",
    services: int = 8,
    noise: float = 0.0,
    peak: float = 0.5,
    proxies: int = 16,
    load: float = 0.5,
    errors: Mapping[str, float] | None = None,
) -> list[Played]:
    """A second of mean and two of p99 for all, but for those named."""
    random = np.random.default_rng(2)
    found = []
    for seed in range(services):
        got = {}
        for one in EVERYBODY:
            mean_s = times.get(one.name, 1.0)
            if one.name == "learned":
                mean_s *= float(np.exp(noise * random.standard_normal()))
            got[one.name] = Got(mean_s, 2.0 * mean_s, (errors or {}).get(one.name, 0.0), 1_000)
        found.append(Played(Fixture(family, load, 10, proxies, seed), proxies, peak, got))
    return found


def scenario_of(played: list[Played]) -> Scenario:
    results = Results(played, EVERYBODY)
    (found,) = scenarios(results, next(one for one in EVERYBODY if one.name == "learned"))
    return found


def test_a_ratio_is_the_ratio() -> None:
    results = Results(made_up({"learned": 0.6, MODEL: 0.8}), EVERYBODY)
    found = results.ratio("learned", MODEL)
    assert found is not None
    for interval in (found.mean, found.p99):
        assert [interval.ratio, interval.low, interval.high] == pytest.approx([0.75] * 3)
    assert results.ratio("learned", MODEL, lambda one: one.proxies > 16) is None


def test_hindsight_takes_the_best_of_envoy_alone_in_each_case() -> None:
    fast = made_up({"cswrr": 0.5, "peak_ewma": 0.1, BOUND: 0.1, "learned": 0.1})
    other = made_up({"maglev": 0.25}, family="phases")
    results = Results([*fast, *other], EVERYBODY)
    found = results.ratio(BEST, FULL_SCAN)
    assert found is not None
    assert found.mean.ratio == pytest.approx(np.sqrt(0.5 * 0.25))


def test_who_is_fast_by_failing_is_not_the_best_in_hindsight() -> None:
    played = made_up({"random": 0.2, "cswrr": 0.9}, errors={"random": 0.3})
    found = Results(played, EVERYBODY).ratio(BEST, FULL_SCAN)
    assert found is not None
    assert found.mean.ratio == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("ratio", "noise", "words"),
    [
        (0.9, 0.0, "gains"),
        (1.0, 0.0, "no harm"),
        (1.02, 0.0, "no harm"),
        (1.04, 0.0, "harm"),
        (1.5, 0.1, "harm"),
        (1.0, 0.3, "open"),
    ],
)
def test_a_scenario_is_judged_by_its_interval(ratio: float, noise: float, words: str) -> None:
    assert scenario_of(made_up({"learned": ratio}, noise=noise)).words == words


def test_p99_and_errors_are_harm_too() -> None:
    slow_tail = made_up({})
    slow_tail = [
        replace(one, got={**one.got, "learned": Got(1.0, 2.2, 0.0, 1_000)}) for one in slow_tail
    ]
    assert scenario_of(slow_tail).words == "harm"
    assert scenario_of(made_up({"learned": 0.5}, errors={"learned": 0.02})).words == "harm"
    same = {"learned": 0.021, FULL_SCAN: 0.02}
    assert scenario_of(made_up({"learned": 0.5}, errors=same)).words == "gains"


def test_gains_at_one_load_do_not_make_up_for_harm_at_another() -> None:
    both = [*made_up({"learned": 0.5}), *made_up({"learned": 1.2}, load=0.95)]
    found = scenario_of(both)
    assert found.ratio is not None
    assert found.ratio.mean.high < 1.0
    assert found.words == "harm"
    assert found.document()["harm_at"] == [0.95]
    assert found.document()["by_load"]["0.5"]["mean"] == pytest.approx([0.5] * 3)


def test_what_is_overloaded_is_reported_and_not_judged() -> None:
    found = scenario_of(made_up({"learned": 3.0}, peak=1.2))
    assert found.words == "overloaded"
    assert found.overloaded is not None
    assert found.overloaded.mean.ratio == pytest.approx(3.0)
    both = [*made_up({"learned": 3.0}, peak=1.2), *made_up({"learned": 0.9}, load=0.7)]
    assert scenario_of(both).words == "gains"


def test_targets_are_measured_where_they_are_for_and_by_the_whole_interval() -> None:
    played = made_up({"learned": 0.7, MODEL: 0.8, BOUND: 0.6, PID: 1.0})
    learned = next(one for one in EVERYBODY if one.name == "learned")
    by_name = {one.target: one for one in targets(Results(played, EVERYBODY), learned)}
    (for_regions,) = {one.name for one in TARGETS} - set(by_name)  # the sparse family has none
    elsewhere = made_up({"learned": 0.7, P2C: 1.4}, family="two_regions")
    everything = {one.target: one for one in targets(Results(elsewhere, EVERYBODY), learned)}
    assert set(everything) == {one.name for one in TARGETS}
    assert everything[for_regions].ratio.mean.ratio == pytest.approx(0.7 / 1.4)
    hindsight = by_name["best stock policy in hindsight, 16 Envoys and more"]
    assert hindsight.verdicts == {"mean": Verdict.REACHED, "p99": Verdict.REACHED}
    assert by_name["model"].verdict is Verdict.REACHED
    bound = by_name["omniscient least work left, 50 to 85 %"]
    assert bound.verdict is Verdict.MISSED
    assert bound.ratio.mean.ratio == pytest.approx(0.7 / 0.6)
    assert bound.verdicts == {"mean": Verdict.MISSED}  # p99 has no limit, and is kept
    p99 = bound.document()["measures"]["p99"]
    assert (p99["limit"], p99["verdict"]) == (None, None)
    assert p99["is"] == bound.ratio.p99.document() == pytest.approx([0.7 / 0.6] * 3, abs=1e-4)
    few = made_up({"learned": 0.7}, proxies=4)
    names = [one.target for one in targets(Results(few, EVERYBODY), learned)]
    assert "best stock policy in hindsight, 16 Envoys and more" not in names
    model = next(one for one in EVERYBODY if one.name == MODEL)
    assert "model" not in [one.target for one in targets(Results(few, EVERYBODY), model)]


def test_a_limit_inside_of_the_interval_is_open_and_so_is_no_interval() -> None:
    assert Verdict.of(Interval(0.9, 0.8, 1.0), 1.0) is Verdict.REACHED
    assert Verdict.of(Interval(0.9, 0.8, 1.01), 1.0) is Verdict.OPEN
    assert Verdict.of(Interval(1.1, 1.01, 1.2), 1.0) is Verdict.MISSED
    assert Verdict.of(Interval(0.9, float("nan"), float("nan")), 1.0) is Verdict.OPEN
    assert worst([Verdict.REACHED, Verdict.OPEN]) is Verdict.OPEN
    assert worst([Verdict.OPEN, Verdict.MISSED]) is Verdict.MISSED
    assert worst([]) is Verdict.OPEN
