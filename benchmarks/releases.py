"""Releases beside `model` and beside the first of them, on cases by which releases may be chosen.

    python -m benchmarks.releases policies/released/residual-ppo DIR DIR --seeds 2 --average

`--average` lets one more play: the mean of the answers of all but the first. Ratios of the mean and
the 99th percentile on the same requests, geometric means over cases with 95 % intervals. What was
played is kept in a folder, so the same command goes on where it was stopped, unless the code or a
release is another. Seeds are those of the card, not of the league, by which nothing is chosen.

Prints a table, and writes benchmarks/results/releases.json: the commit that it was played with, the
digest of each release, the cases, and all ratios with their intervals.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from controlplane.checkout import commit
from policies.agents.network import Actor
from policies.console import bar, plainly
from policies.league.players import FULL_SCAN, MODEL, Player, released, releases, those
from policies.league.results import Ratio, Results
from policies.league.suite import RELEASE_SEEDS, Suite
from policies.league.tables import interval
from policies.league.targets import said
from policies.league.tournament import tournament
from policies.training.export import export
from policies.training.read_back import read_back

RESULT = Path(__file__).parent / "results" / "releases.json"
AVERAGED = "averaged"


class Averaged(nn.Module):  # type: ignore[misc]
    """Some actors as one: the mean of what they say."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        super().__init__()
        self.actors = nn.ModuleList(actors)

    def forward(self, table: Tensor) -> Tensor:
        """(b, g, features) to (b, g)."""
        mean: Tensor = torch.stack([actor(table) for actor in self.actors]).mean(0)
        return mean


def average(folders: Sequence[Path], to: Path) -> Path:
    """Write a release of what these say in the mean; all are of one bound."""
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    networks = [read_back(one / "model.onnx", manifest["bound"]).actor for one in folders]
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    return playable(Averaged(networks), manifest, to)


def playable(actor: nn.Module, manifest: Mapping[str, Any], to: Path) -> Path:
    """Write what the league needs of a release: the model, and this manifest with its digest."""
    digest = export(actor, to / "model.onnx", bound=manifest["bound"])
    (to / "manifest.json").write_text(json.dumps({**manifest, "digest": digest}))
    return to


def playing(folders: Sequence[Path]) -> list[Player]:
    """Each by the name of its folder."""
    return [released(one.resolve().name, one.resolve()) for one in folders]


def compared(
    folders: Sequence[Path], suite: Suite, journal: Path, jobs: int | None = None
) -> dict[tuple[str, str], Ratio]:
    """Each to `model` and to the first."""
    ours = playing(folders)
    names = [one.name for one in ours]
    players: tuple[Player, ...] = (*those((FULL_SCAN, MODEL)), *ours)
    pairs = [(name, MODEL) for name in names] + [(name, names[0]) for name in names[1:]]
    with bar(Console(stderr=True), "playing", len(suite)) as advance:
        played = tournament(
            suite, players, journal, jobs=jobs, progress=lambda n, of: advance(n, of=of)
        )
    found = Results(played, players).ratios(pairs)
    assert found is not None
    return dict(zip(pairs, found, strict=True))


def document(
    found: Mapping[tuple[str, str], Ratio], folders: Sequence[Path], suite: Suite, made_by: str
) -> dict[str, Any]:
    """What is written; `made_by`: the commit."""
    ratios: dict[str, dict[str, Any]] = {}
    for (name, other), one in found.items():
        ratios.setdefault(name, {})[other] = said(one)
    return {
        "commit": made_by,
        "releases": releases(playing(folders)),
        "cases": len(suite),
        "seeds": suite.seeds,
        "first_seed": suite.first_seed,
        "ratios": ratios,
    }


def main(
    folders: Annotated[list[Path], typer.Argument(help="Of releases; the first is compared to.")],
    seeds: Annotated[int, typer.Option(help="Of each family and size.")] = 2,
    averaged: Annotated[bool, typer.Option("--average", help="And all but the first as one.")] = (
        False
    ),
    scratch: Annotated[Path, typer.Option(help="Keeps what was played.")] = Path("runs/releases"),
    jobs: Annotated[int | None, typer.Option(help="Processes; default: all cores.")] = None,
) -> None:
    """Play them, write the result, and print the table."""
    with plainly(Console(stderr=True)):
        if averaged and len(folders) < 2:
            raise ValueError("--average: wanted some releases besides the first")
        made_by = commit()
        scratch.mkdir(parents=True, exist_ok=True)
        chosen = list(folders)
        if averaged:
            chosen.append(average(folders[1:], scratch / AVERAGED))
        suite = Suite(seeds=seeds, first_seed=RELEASE_SEEDS)
        found = compared(chosen, suite, scratch / "played.jsonl", jobs)
        result = document(found, chosen, suite, made_by)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        table = Table(title=f"{len(suite)} cases, mean / p99", box=None)
        for head in ("", "to", "mean", "p99"):
            table.add_column(head)
        for (name, other), one in found.items():
            values = (interval(measure.document()) for measure in (one.mean, one.p99))
            table.add_row(name, other, *values)
        Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
