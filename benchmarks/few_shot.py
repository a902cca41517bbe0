"""Few-shot adaptation of a policy to services that it never saw, on the simulator.

    python -m benchmarks.few_shot --services 12

Each service: five minutes of it to learn from (fifty for one of the ways), then further minutes on
which all ways are played beside the base on the same requests. Meta-training and services are
played in processes of their own. What was meta-trained is kept, and a service that was played is a
line of a journal, so the same command goes on where it was stopped; other code or another release
begins anew. Writes few-shot.json in benchmarks/results, and the table of docs/agents/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from controlplane.checkout import commit, short

if TYPE_CHECKING:
    from policies.league.suite import Fixture

RESULT = Path(__file__).parent / "results" / "few-shot.json"
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "agents" / "README.md"
SCRATCH = Path("runs/few-shot")
MARKS = ("<!-- few-shot -->", "<!-- /few-shot -->")
SERVICES = 12
META_STEPS = 49_920
"""20 steps of MAML, 40 of Reptile, of four services each."""
JUDGED = 12
"""Windows of 40 s that all ways are played on: eight minutes."""
FIRST_SEED = 3_000_000
"""Of the services: seeds of neither training, nor a choice of releases, nor the league."""
FAMILIES = (
    "degradation", "cold_caches", "shared_workers", "mixed_costs", "lossy_telemetry", "sparse_50",
    "diurnal", "phases", "slow_region", "mixed_classes",
)  # fmt: skip
"""Families that no training knows."""
WAYS = ("maml", "first-order", "reptile")
"""Those that are meta-trained."""
DECIDES = (
    ROOT / "policies" / "agents",
    ROOT / "policies" / "league" / "suite.py",
    ROOT / "policies" / "training" / "new_service.py",
)
"""Code that results depend on, beside that which plays."""


def place(root: Path, digest: str) -> Path:
    """A folder of its own for this code and the release of that digest."""
    from policies.fingerprint import code

    return root / f"{code(*DECIDES)}-{digest.removeprefix('sha256:')[:12]}"


def installed() -> Any:  # noqa: ANN401 - a torch module
    """The released policy."""
    from policies.env.episodes import BOUND
    from policies.league.players import folder_of, released
    from policies.training.read_back import read_back

    return read_back(folder_of(released("learned")) / "model.onnx", BOUND).actor


def meta_train(way: str, steps: int, kept: Path) -> None:
    """From the released policy on, unless that was done."""
    import torch

    from policies.training.new_service import meta_trained

    if kept.exists():
        return
    new = kept.with_suffix(".new")
    torch.save(meta_trained(way, installed(), steps, 1).start, new)
    os.replace(new, kept)


def play(number: int, fixture: Fixture, kept: Mapping[str, Path]) -> dict[str, Any]:
    """A line of the journal. Which process plays it, and after which, changes nothing."""
    import torch

    from policies.training.new_service import adapted_all, judged, meta_trained

    policy, learners = installed(), {}
    for way, file in kept.items():
        learners[way] = meta_trained(way, policy, 0, number)
        learners[way].start = torch.load(file, weights_only=True)
    got = judged(adapted_all(fixture, policy, learners, number), fixture.case(), JUDGED, number)
    return {
        "service": fixture.key,
        "family": fixture.family,
        "ways": {name: asdict(one) for name, one in got.items()},
    }


def wanted(count: int) -> list[tuple[int, Fixture]]:
    """The first so many services in which there is something to decide, of each family in turn."""
    from policies.training.new_service import decides, services

    every = sorted(services(FAMILIES, FIRST_SEED, count), key=lambda one: one.seed)
    found = ((i, one) for i, one in enumerate(every) if decides(one.case()))
    return list(itertools.islice(found, count))


def measured(folder: Path, count: int, steps: int, jobs: int) -> list[dict[str, Any]]:
    """What came of each service; those that the journal has are not played again."""
    from policies.processes import processes

    kept = {way: folder / f"{way}-{steps}.pt" for way in WAYS}
    journal = folder / f"played-{steps}-{JUDGED}.jsonl"
    with processes(jobs) as pool:
        training = [pool.submit(meta_train, way, steps, file) for way, file in kept.items()]
        services = wanted(count)
        for way, future in zip(WAYS, training, strict=True):
            future.result()
            print(way, "is ready", flush=True)
        done = _read(journal)
        left = [one for one in services if one[1].key not in done]
        sent = [pool.submit(play, number, fixture, kept) for number, fixture in left]
        for ended in as_completed(sent):
            one = ended.result()
            done[one["service"]] = one
            with journal.open("a") as file:
                file.write(json.dumps(one) + "\n")
            means = ", ".join(f"{name} {got['mean']:.3f}" for name, got in one["ways"].items())
            print(f"{one['service']}: {means}", flush=True)
    return [done[fixture.key] for _, fixture in services]


def _read(journal: Path) -> dict[str, dict[str, Any]]:
    """Services by name; a last line that was not written to its end is taken away."""
    text = journal.read_text() if journal.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        journal.write_text(whole)
    return {one["service"]: one for one in map(json.loads, whole.splitlines())}


def document(services: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each way to the base, to the released policy, and to ten times the samples from scratch."""
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
            f"{result['judged_on']} further windows of 40 s of each, the same requests for all; "
            f"below 1 is faster, 95 % intervals over services. MAML and Reptile: "
            f"{result['meta_steps']:,} steps on training's services, from the released policy "
            f"(commit `{short(result['released']['commit'])}`) on. "
            f"`make few-shot`, commit `{short(result['commit'])}`.",
        ]
    )


def main() -> None:
    from benchmarks.agents_league import installed_release
    from policies.league.tables import write_between
    from policies.league.tournament import cores

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--meta-steps", type=int, default=META_STEPS)
    parser.add_argument("--jobs", type=int, default=cores(), help="processes that play")
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    arguments = parser.parse_args()
    at = commit()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes
    release = installed_release()
    folder = place(arguments.folder, release["digest"])
    folder.mkdir(parents=True, exist_ok=True)
    played = measured(folder, arguments.services, arguments.meta_steps, arguments.jobs)
    made = {"commit": at, "released": release, "meta_steps": arguments.meta_steps}
    result = made | document(played)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    write_between(PAGE, table(result) + "\n", MARKS)


if __name__ == "__main__":
    main()
