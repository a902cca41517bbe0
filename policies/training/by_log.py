"""What a release would have been worth in place of the policy that wrote a log of decisions.

As `offline` judges what it has just learned: a critic from one half of the episodes, the doubly
robust estimate from the other. The log is of a policy with noise, and so is what is estimated: the
release with that noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.agents.network import PRESENT
from policies.agents.off_policy_evaluation import Estimate
from policies.agents.offline import OfflineLearner
from policies.agents.registry import algorithm
from policies.env.episodes import BOUND
from policies.env.stages import Stages
from policies.league.players import Player, folder_of, registry
from policies.league.tables import Table
from policies.training.asked import session
from policies.training.recipe import FOLDER, Recipe, load
from policies.training.served import served

FEW = 100.0
"""An effective sample below this says next to nothing."""
BETTER, WORSE, OPEN = "better", "worse", "not shown"


class Moves(nn.Module):  # type: ignore[misc]
    """A released model as an actor: what the loop would take for its mean where it explores."""

    def __init__(self, model: bytes, bound: float) -> None:
        super().__init__()
        self._session, self._bound = session(model), bound

    def forward(self, table: Tensor) -> Tensor:
        """(n, g, features) to (n, g) actions; of each row their mean is 0, as shares have it."""
        (residual,) = self._session.run(["residual"], {"features": table.numpy()})
        here = table[:, :, PRESENT]
        moves = torch.from_numpy(np.clip(residual, -self._bound, self._bound)) / BOUND * here
        return (moves - moves.sum(1, keepdim=True) / here.sum(1, keepdim=True)) * here


def recipe_of(objective: Any) -> Recipe:  # noqa: ANN401 - an Objective of the release
    """By which a log is read for it: `offline`, with the goals that it was trained for."""
    return replace(load(FOLDER / "offline.yaml"), objective=objective)


def judged(folder: Path, players: Sequence[Player], recipe: Recipe | None = None) -> dict[str, Any]:
    """Each release by the log, as a document; WeirError where it says nothing of them.

    `releases`: of each `logged` (the value of the policy that wrote the log), `value` (that of the
    release) and `beyond` (the difference) as [value, low, high], in standard deviations of the
    logged returns about the mean of their service; `effective_sample_size` of `sample_size`
    decisions; `verdict`, and `notes`. `recipe`: instead of ours, how the log is read and learned.
    """
    policies = registry(Stages.installed(), players)
    found, said = [], dict[str, Any]()
    for player in players:
        release = policies.get(player.policy).release
        how = recipe or recipe_of(release.objective)
        read = served(folder, how)
        said = dict(read.said)
        learner = algorithm("offline").learner(how.settings, how.world, how.seed)
        assert isinstance(learner, OfflineLearner)
        one = learner.asked(Moves(release.model, release.bound), *read.log.halves())
        notes = [*_learned_from(player, said), *_few(one.release)]
        found.append(
            {
                "name": player.name,
                "digest": release.digest,
                "logged": _interval(one.logged),
                "value": _interval(one.release),
                "beyond": _interval(one.beyond),
                "effective_sample_size": round(one.release.effective, 1),
                "sample_size": one.decisions,
                "verdict": _verdict(one.beyond),
                "notes": notes,
            }
        )
    return {"log": {"folder": str(folder), **said}, "releases": found}


def _learned_from(player: Player, said: Mapping[str, Any]) -> list[str]:
    manifest = json.loads((folder_of(player) / "manifest.json").read_text())
    training = manifest.get("training")
    log = training.get("log") if isinstance(training, dict) else None
    if not isinstance(log, dict) or log.get("digest") != said["digest"]:
        return []
    return [
        f"{player.name} learned from this very log, and may have been chosen by the half that "
        "judges it: log anew"
    ]


def _few(estimate: Estimate) -> list[str]:
    if estimate.effective >= FEW:
        return []
    return [
        f"an effective sample of {estimate.effective:.0f} decisions says next to nothing: the log "
        "hardly did what the release would do; log longer, or explore more"
    ]


def _verdict(beyond: Estimate) -> str:
    """`better` or `worse` where the whole 95 % interval is on that side."""
    if beyond.least > 0.0:
        return BETTER
    return WORSE if beyond.most < 0.0 else OPEN


def _interval(one: Estimate) -> list[float | None]:
    """[value, low, high]; JSON has no infinity."""
    return [
        round(value, 4) if np.isfinite(value) else None
        for value in (one.value, one.least, one.most)
    ]


def table(document: Mapping[str, Any]) -> Table:
    """For people."""
    log = document["log"]
    rows = [
        [
            one["name"],
            *(_told(one[name]) for name in ("logged", "value", "beyond")),
            f"{one['effective_sample_size']:.0f} of {one['sample_size']}",
            one["verdict"],
        ]
        for one in document["releases"]
    ]
    return Table(
        f"by {log['decisions']} decisions about {log['services']} services, in standard deviations "
        "of their returns",
        ["release", "logged policy", "release", "beyond the logged", "effective sample", "verdict"],
        rows,
    )


def _told(values: Sequence[float | None]) -> str:
    value, low, high = ("?" if one is None else f"{one:+.3f}" for one in values)
    return f"{value} [{low}, {high}]"
