"""Few-shot adaptation of a policy to services that it never saw, on the simulator.

    python -m benchmarks.few_shot --services 12

Each service: five minutes of it to learn from (fifty for one of the ways), then further minutes on
which all ways are played beside the base on the same requests. A service that was played is a line
of a journal, so the same command goes on where it was stopped. Writes few-shot.json in
benchmarks/results, and the table of docs/agents/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from policies.agents.meta_policy import MetaLearner

RESULT = Path(__file__).parent / "results" / "few-shot.json"
PAGE = Path(__file__).parents[1] / "docs" / "agents" / "README.md"
SCRATCH = Path("runs/few-shot")
MARKS = ("<!-- few-shot -->", "<!-- /few-shot -->")
SERVICES = 12
META_STEPS = 12_480
JUDGED = 6
"""Episodes of 40 s that all ways are played on: four minutes."""
FIRST_SEED = 3_000_000
"""Of the services: seeds of neither training, nor a choice of releases, nor the league."""
FAMILIES = (
    "degradation", "cold_caches", "shared_workers", "mixed_costs", "lossy_telemetry", "sparse_50",
    "diurnal", "phases", "slow_region", "mixed_classes",
)  # fmt: skip
"""Families that no training knows."""
WAYS = ("maml", "reptile")


def learners(folder: Path, steps: int) -> dict[str, MetaLearner]:
    """Meta-trained from the released policy, unless that was done."""
    import torch

    from policies.training.new_service import meta_trained

    result = {}
    for way in WAYS:
        kept = folder / f"{way}-{steps}.pt"
        learner = meta_trained(way, installed(), 0 if kept.exists() else steps, 1)
        if kept.exists():
            learner.start = torch.load(kept, weights_only=True)
        else:
            torch.save(learner.start, kept)
        result[way] = learner
        print(way, "is ready", flush=True)
    return result


def installed() -> Any:  # noqa: ANN401 - a torch module
    """The released policy."""
    from policies.env.episodes import BOUND
    from policies.league.players import folder_of, released
    from policies.training.read_back import read_back

    return read_back(folder_of(released("learned")) / "model.onnx", BOUND).actor


def measured(journal: Path, count: int, meta: Mapping[str, MetaLearner]) -> list[dict[str, Any]]:
    """The first so many services in which there is something to decide, of each family in turn.

    Those that the journal has are not played again.
    """
    from policies.training.new_service import adapted_all, decides, judged, services

    lines = journal.read_text().splitlines() if journal.exists() else []
    done = {one["service"]: one for one in map(json.loads, lines)}
    policy = installed()
    fixtures = sorted(services(FAMILIES, FIRST_SEED, count), key=lambda one: one.seed)
    result: list[dict[str, Any]] = []
    for number, fixture in enumerate(fixtures):
        if len(result) == count:
            break
        if fixture.key not in done:
            found = {"service": fixture.key, "family": fixture.family, "ways": {}}
            if decides(fixture.case()):
                actors = adapted_all(fixture, policy, meta, number)
                got = judged(actors, fixture.case(), JUDGED, number)
                found["ways"] = {name: asdict(one) for name, one in got.items()}
            done[fixture.key] = found
            with journal.open("a") as file:
                file.write(json.dumps(found) + "\n")
        ways = done[fixture.key]["ways"]
        means = ", ".join(f"{name} {one['mean']:.3f}" for name, one in ways.items())
        print(f"{fixture.key}: {means or 'one group'}", flush=True)
        if ways:
            result.append(done[fixture.key])
    return result


def document(services: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each way to the base, to the released policy, and to ten times the samples from scratch."""
    from benchmarks.agents_league import released_by
    from controlplane.checkout import commit
    from policies.training.new_service import RELEASED, TEN_TIMES

    names = list(services[0]["ways"])
    ratios: dict[str, Any] = {name: {} for name in names}
    for measure in ("mean", "p99"):
        logs = np.log([[one["ways"][name][measure] for name in names] for one in services])
        for other in ("base", RELEASED, TEN_TIMES):
            less = 0.0 if other == "base" else logs[:, [names.index(other)]]
            for name, found in zip(names, _intervals(logs - less, services), strict=True):
                ratios[name].setdefault(other, {})[measure] = found
    for i, name in enumerate(names):
        errors = [list(one["ways"].values())[i]["errors"] for one in services]
        ratios[name]["errors"] = round(float(np.mean(errors)), 6)
    return {
        "commit": commit(),
        "released": released_by(),
        "meta_steps": META_STEPS,
        "judged_on": JUDGED,
        "services": list(services),
        "ratios": ratios,
    }


def _intervals(logs: Any, services: Sequence[Mapping[str, Any]]) -> list[list[float | None]]:  # noqa: ANN401
    from policies.league.intervals import intervals

    found = np.exp(
        intervals(logs, [one["service"] for one in services], [one["family"] for one in services])
    )
    return [[round(v, 4) if np.isfinite(v) else None for v in row] for row in found.tolist()]


def table(result: Mapping[str, Any]) -> str:
    """As Markdown."""
    from policies.league.tables import interval
    from policies.training.new_service import RELEASED, TEN_TIMES

    lines = [
        "| way | minutes | mean to `model` | p99 to `model` | mean to `released` "
        "| mean to `scratch x 10` |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in result["ratios"].items():
        took = {RELEASED: "0", TEN_TIMES: "53"}.get(name, "5")
        cells = [
            name,
            took,
            interval(one["base"]["mean"]),
            interval(one["base"]["p99"]),
            "" if name == RELEASED else interval(one[RELEASED]["mean"]),
            "" if name == TEN_TIMES else interval(one[TEN_TIMES]["mean"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    services = result["services"]
    families = len({one["family"] for one in services})
    return "\n".join(
        [
            *lines,
            "",
            f"{len(services)} services of {families} families that no training knew, all "
            f"cut into groups: 8 endpoints and 32 Envoys (or the family's), load 70 or 85 %; "
            f"{result['judged_on']} further episodes of 40 s of each, the same requests for all; "
            f"below 1 is faster, 95 % intervals over services. MAML and Reptile: "
            f"{result['meta_steps']:,} steps on training's services, from the released policy "
            f"(commit `{result['released'][:12]}`) on. "
            f"`make few-shot`, commit `{result['commit'][:12]}`.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--meta-steps", type=int, default=META_STEPS)
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    meta = learners(arguments.folder, arguments.meta_steps)
    journal = arguments.folder / "few-shot.played.jsonl"
    result = document(measured(journal, arguments.services, meta))
    result["meta_steps"] = arguments.meta_steps
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    from policies.league.tables import write_between

    write_between(PAGE, table(result) + "\n", MARKS)


if __name__ == "__main__":
    main()
