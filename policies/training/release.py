"""Writes a release: the model, its manifest, its evaluation, what it goes by, and its card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from controlplane.errors import WeirError
from policies.agents.network import Released
from policies.env.paired import BASE
from policies.league.suite import Suite
from policies.league.tournament import Progress
from policies.training.card import card
from policies.training.evaluate import evaluated, held_out_of, release_suite
from policies.training.export import export, manifest
from policies.training.importance import write as write_importance
from policies.training.train import Trained

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
    training: dict[str, Any] = {
        "step": trained.step,
        "steps": trained.recipe.steps,
        "validation_mean_ratio": round(trained.ratio, 4),
    }
    if trained.log is not None:
        training["log"] = dict(trained.log)
    document = manifest(trained.recipe, digest, training, {})
    _write(made / "manifest.json", document)
    if trained.recipe.base != BASE:
        _appear(made, folder)
        return {}
    suite = suite or release_suite()
    seen = () if trained.log is not None else trained.recipe.draws
    evaluation = evaluated(made, suite, progress, held_out_of(seen))
    document["evaluation"] = {
        "base": BASE,
        "mean": evaluation["overall"]["learned/model"]["mean"],
        "p99": evaluation["overall"]["learned/model"]["p99"],
        "cases": evaluation["overall"]["learned/model"]["cases"],
    }
    _write(made / "manifest.json", document)
    _write(made / "evaluation.json", evaluation)
    network = Released(trained.actor, document["bound"]).eval()
    importance = write_importance(network, made, 1, suite.families)
    (made / "card.md").write_text(card(document, evaluation, importance))
    _appear(made, folder)
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
