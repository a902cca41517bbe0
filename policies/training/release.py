"""Writes a release: the model, its manifest, its evaluation, what it goes by, and its card.

    python -m policies.training.release FOLDER    # one that is there, beside the base of now

writes all of it anew but its model.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from controlplane.errors import WeirError
from policies.agents.network import Released
from policies.console import bar, plainly
from policies.env.paired import BASE
from policies.league.lineage import Seen
from policies.league.suite import Suite
from policies.league.tournament import Progress
from policies.training.card import card, trained_on
from policies.training.evaluate import evaluated, held_out_of, release_suite
from policies.training.export import export, manifest
from policies.training.importance import write as write_importance
from policies.training.read_back import read_back
from policies.training.train import Trained
from policies.training.watch import DEFAULT

FILES = (
    "model.onnx",
    "manifest.json",
    "evaluation.json",
    "importance.json",
    "importance.png",
    "card.md",
)
"""All that a release consists of."""


def place(folder: Path) -> Path:
    """Where a release of that name will be: the same folder, without links and dots.

    WeirError where there is something else than a release: it would be lost.
    """
    folder = folder.resolve()
    try:
        others = sorted(one.name for one in folder.iterdir() if one.name not in FILES)
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise WeirError(f"no release can be there: {error}") from error
    if others:
        more = " and others" if len(others) > 3 else ""
        raise WeirError(
            f"{folder} has {', '.join(others[:3])}{more} in it, which are no part of a release and "
            "would be lost: name another folder"
        )
    return folder


def release(
    trained: Trained,
    folder: Path,
    *,
    suite: Suite | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the folder and return the evaluation on `suite` that went into it.

    What corrects the split between regions has a model and a manifest alone, and no evaluation: the
    suite plays corrections of `model`, and serving refuses another
    (`benchmarks.region_agents` plays it).

    The folder appears as a whole: it is made beside its place and then renamed. WeirError where
    it would take the place of something else than a release.
    """
    folder = place(folder)
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    digest = export(trained.actor, made / "model.onnx")
    by_mean = trained.recipe.objective == DEFAULT
    training: dict[str, Any] = {
        "step": trained.step,
        "steps": trained.recipe.steps,
        f"validation_{'mean_ratio' if by_mean else 'by_objective'}": round(trained.ratio, 4),
    }
    if trained.log is not None:
        training["log"] = dict(trained.log)
    document = manifest(trained.recipe, digest, trained.commit, training, {})
    _write(made / "manifest.json", document)
    if trained.recipe.base != BASE:
        _appear(made, folder)
        return {}
    network = Released(trained.actor, document["bound"]).eval()
    evaluation = _judge(made, document, network, suite, progress)
    _appear(made, folder)
    return evaluation


def judge(
    folder: Path, *, suite: Suite | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Write a release anew but its model, which stays to the byte, and return the evaluation.

    What it is worth is beside the base and the guard of now, which change. WeirError where it is
    none of this version.
    """
    try:
        document = json.loads((folder / "manifest.json").read_text())
        network = read_back(folder / "model.onnx", document["bound"])
        _ = document["training"]["step"], list(trained_on(document)), Seen.of(document)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeirError(f"{folder} is no release of this version: {error}") from error
    return _judge(folder, document, network, suite, progress)


def _judge(
    folder: Path,
    document: dict[str, Any],
    network: Released,
    suite: Suite | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Evaluation, importance, card, and what the manifest says of them."""
    suite = suite or release_suite()
    evaluation = evaluated(folder, suite, progress, held_out_of(Seen.of(document)))
    document["evaluation"] = {
        "base": BASE,
        "mean": evaluation["overall"]["learned/model"]["mean"],
        "p99": evaluation["overall"]["learned/model"]["p99"],
        "cases": evaluation["overall"]["learned/model"]["cases"],
    }
    _write(folder / "evaluation.json", evaluation)
    importance = write_importance(network, folder, 1, suite.families)
    (folder / "card.md").write_text(card(document, evaluation, importance))
    _write(folder / "manifest.json", document)
    return evaluation


def _appear(made: Path, folder: Path) -> None:
    """In place of the release that is there, which is gone only when the new one has its place."""
    before = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        os.replace(folder, before)
    os.replace(made, folder)
    shutil.rmtree(before, ignore_errors=True)


def _write(path: Path, document: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(document, indent=1, sort_keys=False) + "\n")


def main(folders: Annotated[list[Path], typer.Argument(help="Of releases.")]) -> None:
    """Judge each."""
    console = Console(stderr=True)
    with plainly(console):
        for folder in folders:
            with bar(console, f"evaluating {folder}", 1) as advance:
                judge(folder, progress=lambda n, of: advance(n, "", of))


if __name__ == "__main__":
    typer.run(main)
