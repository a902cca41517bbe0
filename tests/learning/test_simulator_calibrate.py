"""Calibration finds the truth that a recording was made of, and says when it cannot know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from policies.simulator import Case, Law, Simulation, Station, Steps, Traffic, Work
from policies.simulator.calibrate import calibrate, case_of
from policies.simulator.cli import app
from policies.simulator.recording import NUMBERS, Recording

pytestmark = pytest.mark.learning

SPEEDS = np.array([0.6, 0.9, 1.2, 1.3])


def truth(work: Work, workers: int, load: float = 0.7) -> Case:
    """Four unlike endpoints, six proxies, and traffic that comes and goes."""
    capacity = workers * SPEEDS.sum() / work.mean_s
    return Case(
        "truth",
        tuple(Station(workers, Steps.of(speed)) for speed in SPEEDS.tolist()),
        Traffic(Steps.wave(load * capacity, 0.3, 40.0, 80.0)),
        work,
        proxies=6,
        duration_s=80.0,
    )


def silent(recording: Recording) -> Recording:
    """Endpoints that do not say how busy they are."""
    return replace(recording, utilisation=np.full_like(recording.utilisation, np.nan))


@pytest.mark.parametrize(
    ("work", "workers", "said"),
    [(Work(0.05), 4, False), (Work(0.05), 4, True), (Work(0.05, Law.DETERMINISTIC), 2, True)],
    ids=["silent", "exponential", "deterministic"],
)
def test_the_truth_is_recovered(work: Work, workers: int, said: bool) -> None:
    case = truth(work, workers)
    recording = Recording.of(case, seed=77)
    fit = calibrate(recording if said else silent(recording), proxies=6)
    assert np.array(fit.capacity_rps) == pytest.approx(SPEEDS * workers / work.mean_s, rel=0.08)
    assert abs(fit.workers - workers) <= 1
    assert fit.case.work.law is work.law
    assert abs(fit.gap["mean_s"]) < 0.05
    assert abs(fit.gap["p99_s"]) < 0.10
    assert fit.alike[0] <= fit.case.capacity_rps * 1.001


def test_a_quiet_recording_is_admitted_to_say_little_about_capacity() -> None:
    quiet = silent(Recording.of(truth(Work(0.05), 4, load=0.1), seed=78))
    fit = calibrate(quiet, proxies=6, workers=(1, 2, 4, 16), laws=(Work(1.0),))
    low, high = fit.alike
    assert low < 4 * SPEEDS.sum() / 0.05 < high
    assert high > 2.0 * low


def test_what_was_fitted_predicts_a_load_that_it_never_saw() -> None:
    case = truth(Work(0.05), 4, load=0.5)
    fit = calibrate(Recording.of(case, seed=79), proxies=6, workers=(1, 2, 3, 4, 6, 8, 12))
    heavier = Traffic(Steps.of(0.8 * 4 * SPEEDS.sum() / 0.05))
    felt = []
    for one in (case, case_of(json.loads(json.dumps(fit.document())))):
        run = Simulation(replace(one, traffic=heavier), seed=3)
        run.advance(80.0)
        run.drain()
        felt.append(run.outcome())
    assert felt[1].mean_s == pytest.approx(felt[0].mean_s, rel=0.15)
    assert felt[1].quantile_s(0.99) == pytest.approx(felt[0].quantile_s(0.99), rel=0.15)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    recording = silent(Recording.of(replace(truth(Work(0.05), 4), duration_s=5.0), seed=1))
    recording.write(tmp_path / "one.csv")
    read = Recording.read(tmp_path / "one.csv")
    assert read.endpoints == recording.endpoints
    assert read.window_s == recording.window_s == 1.0
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(read, name), getattr(recording, name))


def test_what_prometheus_answers_to_our_query_is_a_recording(tmp_path: Path) -> None:
    def series(field: str, endpoint: str, values: list[str]) -> dict[str, object]:
        return {
            "metric": {"weir": field, "service": "default/web", "endpoint": endpoint},
            "values": [[100.0 + 5.0 * i, value] for i, value in enumerate(values)],
        }

    result = [
        series("succeeded", "10.0.0.1:80", ["10", "12"]),
        series("latency", "10.0.0.1:80", ["0.1", "NaN"]),
        series("succeeded", "10.0.0.2:80", ["20", "2"]),
        series("taken", "10.0.0.2:80", ["100", "105"]),
        {"metric": {"weir": "proxies", "service": "default/web"}, "values": [[100.0, "3"]]},
    ]
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"data": {"resultType": "matrix", "result": result}}))
    read = Recording.read(path)
    assert read.endpoints == ("10.0.0.1:80", "10.0.0.2:80")
    assert read.succeeded.tolist() == [[50.0, 100.0], [60.0, 10.0]]
    assert read.latency_s[0, 0] == 0.1
    assert np.isnan(read.latency_s[1]).all()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "at_s,endpoint\n", "no column"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,3,0.1\n", "two windows"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,0,\n2,a,0,\n", "succeeded"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,5,-1\n2,a,5,.1\n", "below 0"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,5,.1\nnan,a,5,.1\n", "no time"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,5e12,.1\n2,a,5,.1\n", "take a part"),
        ("a.csv", f"at_s,endpoint,succeeded,latency_s\n1,{'a' * 200_000},5,.1\n", "field limit"),
        ("a.csv", "at_s,endpoint,succeeded,latency_s\n1,a,5,.1\n1,b,5,\n2,a,5,.1\n", "of b"),
        ("a.json", "[]", "a.json"),
        ("a.json", '{"data": {"resultType": "vector", "result": []}}', "query_range"),
    ],
)
def test_a_recording_that_cannot_be_is_refused_in_words(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    done = CliRunner().invoke(app, ["calibrate", str(path), "--proxies", "2"])
    assert done.exit_code == 1
    assert words in " ".join(done.stderr.split())


def test_who_answered_nothing_is_named_and_does_not_end_the_process() -> None:
    """Its speed would be no number, with which the compiled event loop leaves its arrays."""
    made = Recording.of(replace(truth(Work(0.02), 2), duration_s=5.0), seed=2)
    made.latency_s[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"no latency is known of 10\.0\.0\.1:8080"):
        calibrate(made, proxies=6)
    for value in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="numbers, and not negative"):
            Steps.of(value)


def test_a_recording_without_99th_percentiles_is_fitted_by_what_it_has() -> None:
    made = silent(Recording.of(replace(truth(Work(0.02), 2), duration_s=10.0), seed=2))
    made.latency_p99_s[:] = np.nan
    fit = calibrate(made, proxies=6, workers=(2,), laws=(Work(1.0),))
    assert fit.gap.keys() == {"mean_s"}
    assert abs(fit.gap["mean_s"]) < 0.1


def test_a_place_that_is_not_there_is_refused_before_the_fit(tmp_path: Path) -> None:
    Recording.of(replace(truth(Work(0.02), 2), duration_s=5.0), seed=2).write(tmp_path / "a.csv")
    for option in ("--to", "--plot"):
        wanted = str(tmp_path / "nowhere" / "x")
        done = CliRunner().invoke(
            app, ["calibrate", str(tmp_path / "a.csv"), "--proxies", "6", option, wanted]
        )
        assert done.exit_code == 1
        assert "there is no folder" in done.stderr
        assert isinstance(done.exception, SystemExit)


def test_the_verb_prints_json_and_writes_a_scenario_and_a_plot(tmp_path: Path) -> None:
    recording = Recording.of(replace(truth(Work(0.02), 2), duration_s=10.0), seed=2)
    recording.write(tmp_path / "cart.csv")
    arguments = ["calibrate", str(tmp_path / "cart.csv"), "--proxies", "6", "--output", "json"]
    scenario, plot = tmp_path / "cart.json", tmp_path / "cart.png"
    done = CliRunner().invoke(app, [*arguments, "--to", str(scenario), "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(scenario.read_text())
    assert case_of(json.loads(scenario.read_text())).name == "cart"
    assert plot.read_bytes().startswith(b"\x89PNG")
    wrong = CliRunner().invoke(app, [*arguments, "--algorithm", "best"])
    assert wrong.exit_code == 1
    assert "full_scan" in wrong.stderr
