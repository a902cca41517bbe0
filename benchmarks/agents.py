"""Every algorithm on a toy with a known optimum: learning curves over seeds, and few-shot learning.

    python -m benchmarks.agents --only ppo sac

Writes benchmarks/results/agents.json, and from it a picture for each page in docs/agents. Curves
are of the policy without exploring on validation cases: mean latency over the base's; the optimum
is known. Teams and memory are scored when they have learned, by `policies.training.scoring`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "agents.json"
SIZES = (40, 80, 160, 320, 640, 2_560)
"""Decisions in the log of who learns once."""
EPISODE = 10
"""Decisions of an episode of the toy."""
ONCE = ("offline",)
PICTURES = Path(__file__).parents[1] / "docs" / "agents"


def curve(name: str, seed: int) -> dict[str, Any]:
    """One run: the curve, and how far it got."""
    from policies.agents.registry import algorithm
    from policies.training.scoring import score_of
    from policies.training.toy import LESSONS
    from policies.training.watch import VALIDATION_SEED, validate

    lesson = LESSONS[name]
    learner = algorithm(name).learner(lesson.settings, lesson.world, seed)
    validation = lesson.world.episodes(63, VALIDATION_SEED)
    steps: list[int] = []
    ratios: list[float | None] = []
    returns: list[float] = []

    def told(step: int, actor: Any, reward: float) -> None:  # noqa: ANN401
        if steps and step - steps[-1] < lesson.steps / 40:
            return
        steps.append(step)
        returns.append(round(reward, 4))
        ratios.append(None if actor is None else round(validate(validation, actor), 5))

    learner.learn(lesson.steps, told)
    return {
        "seed": seed,
        "steps": steps,
        "ratios": ratios,
        "returns": returns,
        "score": round(score_of(learner, lesson.world), 4),
    }


def by_size(name: str, seed: int) -> dict[str, Any]:
    """As a curve, of who learns once from a log: one run for each size of the log."""
    from policies.agents.registry import algorithm
    from policies.training.scoring import score_of
    from policies.training.toy import LESSONS
    from policies.training.watch import VALIDATION_SEED, validate

    lesson = LESSONS[name]
    validation = lesson.world.episodes(63, VALIDATION_SEED)
    steps: list[int] = []
    ratios: list[float] = []

    def told(step: int, *_: object) -> None:
        steps.append(step)

    for size in (*SIZES, lesson.steps):
        settings = replace(lesson.settings, slots=min(lesson.settings.slots, size // EPISODE))
        learner = algorithm(name).learner(settings, lesson.world, seed)
        learner.learn(size, told)
        ratios.append(round(validate(validation, learner.actor()), 5))
    score = round(score_of(learner, lesson.world), 4)
    return {"seed": seed, "steps": steps, "ratios": ratios, "returns": [], "score": score}


def best_ratio(name: str) -> float | None:
    """What the curve can reach, where it is one service's."""
    from policies.env.routing import Routing, RoutingEpisodes
    from policies.training.toy import LESSONS
    from policies.training.watch import VALIDATION_SEED

    world = LESSONS[name].world
    if not isinstance(world, Routing):
        return None
    episodes = RoutingEpisodes(world, 63, VALIDATION_SEED)
    episodes.reset()
    return round(float(np.exp(np.log(episodes.best_ratios()).mean())), 5)


def few_shot(iterations: int) -> dict[str, Any]:
    """The error after 0 to 60 steps on ten values of a new task; and with ten times as many."""
    from policies.env.families import Sinusoids, Stations
    from policies.training.few_shot import Course, Meta, compared

    stations = Course(iterations=iterations, inner_rate=0.1, inner_steps=5, reptile_rate=0.05)
    scratch = Meta(Stations(), stations)
    more = [
        scratch.errors(scratch.start(), steps=500, shots=100, rate=rate) for rate in (0.03, 0.1)
    ]
    return {
        "iterations": iterations,
        "sinusoids": dict(compared(Sinusoids(), Course(iterations=iterations), steps=60)),
        "stations": dict(compared(Stations(), stations, steps=60)),
        "ten times the values": {n: min(errors[n] for errors in more) for n in (10, 60, 500)},
    }


def draw(name: str, runs: list[dict[str, Any]], best: float | None) -> None:
    """The curves of an algorithm."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    judged = any(r is not None for r in runs[0]["ratios"])
    for run in runs:
        values = run["ratios"] if judged else run["returns"]
        shown = [(s, v) for s, v in zip(run["steps"], values, strict=True) if v is not None]
        axes.plot(*zip(*shown, strict=True), linewidth=1.0, label=f"seed {run['seed']}")
    if judged and best is not None:
        axes.axhline(best, color="black", linestyle=":", linewidth=1.0, label="optimum")
        axes.set_ylim(best - 0.005, 1.03)
    if name in ONCE:
        axes.set_xscale("log")
    axes.set_xlabel("steps in the log" if name in ONCE else "steps")
    axes.set_ylabel("mean latency / base" if judged else "return")
    axes.set_title(name, fontsize=9)
    axes.legend(fontsize=7)
    figure.savefig(PICTURES / f"{name}.png", dpi=80)


def draw_few_shot(result: dict[str, Any]) -> None:
    """Errors over steps, for both families."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, family in zip(figure.subplots(1, 2), ("sinusoids", "stations"), strict=True):
        for way, errors in result[family].items():
            axes.plot(errors, linewidth=1.0, label=way)
        axes.set_yscale("log")
        axes.set_xlabel("gradient steps on ten values")
        axes.set_title(family, fontsize=9)
    figure.axes[0].set_ylabel("mean squared error")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(PICTURES / "few-shot.png", dpi=80)


def table(result: dict[str, Any]) -> str:
    """The scores as Markdown."""
    lines = ["| algorithm | steps | score of each seed |", "|---|---|---|"]
    for name, one in result.items():
        if name == "few-shot":
            continue
        scores = ", ".join(f"{run['score']:.2f}" for run in one["runs"])
        lines.append(f"| [{name}]({name}.md) | {one['runs'][0]['steps'][-1]:,} | {scores} |")
    few = result.get("few-shot")
    if few is not None:
        ways = list(few["sinusoids"])
        lines += ["", "Mean squared error on a new task after steps on ten of its values:", ""]
        lines += [f"| family | steps | {' | '.join(ways)} |", "|---" * (len(ways) + 2) + "|"]
        for family in ("sinusoids", "stations"):
            for steps in (10, 60):
                cells = " | ".join(f"{few[family][way][steps]:.3f}" for way in ways)
                lines.append(f"| {family} | {steps} | {cells} |")
        more = ", ".join(f"{e:.3f} after {n}" for n, e in few["ten times the values"].items())
        lines += [
            "",
            f"Stations from scratch with ten times the values, at the best of two rates: {more} "
            f"steps. All others were trained for {few['iterations']:,} iterations of 25 tasks.",
        ]
    return "\n".join(lines)


def write_table(result: dict[str, Any]) -> None:
    """Put it into the README of the agents."""
    page = PICTURES / "README.md"
    begin, end = "<!-- scores -->\n", "<!-- /scores -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(before + begin + table(result) + "\n" + end + after)


def main() -> None:
    from policies.training.toy import LESSONS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[*LESSONS, "few-shot"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=2_000, help="of few-shot learning")
    arguments = parser.parse_args()
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in arguments.only:
        if name == "few-shot":
            result[name] = few_shot(arguments.iterations)
            draw_few_shot(result[name])
        else:
            run = by_size if name in ONCE else curve
            runs = [run(name, seed) for seed in range(1, arguments.seeds + 1)]
            result[name] = {"best": best_ratio(name), "runs": runs}
            draw(name, runs, result[name]["best"])
            print(name, [run["score"] for run in runs], flush=True)
        result = {name: result[name] for name in (*LESSONS, "few-shot") if name in result}
        RESULT.write_text(json.dumps(result, separators=(",", ":")) + "\n")
    write_table(result)


if __name__ == "__main__":
    main()
