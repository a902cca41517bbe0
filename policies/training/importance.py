"""What a policy goes by: the importance of each feature over many decisions, by captum.

Two measures, for a feature can matter in two ways.

- **Effect**: integrated gradients (Sundararajan, Taly and Yan, ICML 2017) of the log of each
  group's share over its base share, from groups that are alike; the mean size over decisions and
  groups. It explains what differs between groups, as `weir weights explain --attributions` does
  for one decision, and sums to what was done. What is the same for all groups of a service gets 0.
- **Swap**: how far the same number moves when a feature is exchanged, for all groups of a service
  together, with that of another service (permutation importance: Breiman, "Random forests", 2001;
  Fisher, Rudin and Dominici, 2019). It tells of features of the service, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import FeaturePermutation, IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor, nn

from controlplane.model import Proposal, Situation
from controlplane.model.features import FEATURES, features_of
from controlplane.model.observation import Floats
from policies.agents.network import Released
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.league.players import registry, released
from policies.league.suite import RELEASE_SEEDS, Suite
from policies.simulator import FAMILIES, Case
from policies.training.plot import plot_importance

LEARNED = "learned"
"""The name by which the release is played."""
POINTS = 32
"""Of the path of integrated gradients."""
EVERY = 4
"""One of so many ticks is looked at: neighbours are nearly the same decision."""
LOADS = (0.5, 0.7, 0.85)
SIZES = ((8, 4), (10, 16))
"""(endpoints, proxies) of the cases that are looked at."""
FIRST_SEED = RELEASE_SEEDS + 500_000
"""Cases that training did not see, nor the evaluation."""
JUMPY = 0.1
"""Where effects miss so much of what was done the policy decides in steps: there is no gradient."""

Table = NDArray[np.float32]


class Moves(nn.Module):  # type: ignore[misc]
    """The released network, answering as `controlplane.model.residual.log_moves`."""

    def __init__(self, released: Released) -> None:
        super().__init__()
        self.released = released

    def forward(self, table: Tensor, base: Tensor) -> Tensor:
        """(b, g, features) and (b, g) base shares to (b, g) log of the wanted share over base."""
        residual = self.released(table)
        together = (base * residual.exp()).sum(1, keepdim=True) / base.sum(1, keepdim=True)
        return residual - together.log()


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Decisions about services with so many groups each."""

    table: Table
    """(b, g, features)"""
    base: Table
    """(b, g)"""


def effects(moves: Moves, some: Decisions, points: int = POINTS) -> tuple[Floats, Floats]:
    """(b, g, features) by captum, summed over the groups whose feature it is; (b, g) the answer."""
    table, base = torch.from_numpy(some.table), torch.from_numpy(some.base)
    alike = table.mean(1, keepdim=True).expand_as(table).contiguous()
    with torch.no_grad():
        answer = moves(table, base) - moves(alike, base)
    if not moves(table.clone().requires_grad_(), base).requires_grad:  # the base, or steps alone
        nothing = np.zeros((*answer.shape, len(FEATURES)))
        return nothing, answer.numpy().astype(np.float64)
    method = IntegratedGradients(moves)
    found = [
        method.attribute(
            table, alike, target=g, additional_forward_args=(base,), n_steps=points,
            method="gausslegendre", internal_batch_size=4096,
        ).sum(1)
        for g in range(table.shape[1])
    ]  # fmt: skip
    return torch.stack(found, 1).numpy().astype(np.float64), answer.numpy().astype(np.float64)


def swaps(moves: Moves, some: Decisions) -> Floats:
    """(b, g, features) how far the answer moves when another service's feature is put in."""
    table, base = torch.from_numpy(some.table), torch.from_numpy(some.base)
    mask = torch.arange(len(FEATURES)).expand(1, table.shape[1], -1)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = [
            FeaturePermutation(moves).attribute(
                table, target=g, additional_forward_args=(base,), feature_mask=mask
            )[:, 0]
            for g in range(table.shape[1])
        ]
    return np.asarray(np.abs(torch.stack(found, 1).numpy()), np.float64)


def importance(released: Released, decisions: Sequence[Decisions]) -> dict[str, Any]:
    """The two measures of each feature, as a document; both in log of a share."""
    moves = Moves(released).eval()
    sizes, left, answers, swapped = [], [], [], []
    for some in decisions:
        found, answer = effects(moves, some)
        sizes.append(np.abs(found).reshape(-1, len(FEATURES)))
        left.append(np.abs(answer - found.sum(axis=2)).ravel())
        answers.append(np.abs(answer).ravel())
        if len(some.table) > 1:
            swapped.append(swaps(moves, some).reshape(-1, len(FEATURES)))
    moved, unexplained = (float(np.concatenate(one).mean()) for one in (answers, left))
    smooth = unexplained <= JUMPY * moved
    by_effect = np.concatenate(sizes).mean(axis=0) if smooth else None
    by_swap = np.concatenate(swapped).mean(axis=0) if swapped else np.zeros(len(FEATURES))
    return {
        "decisions": sum(len(some.table) for some in decisions),
        "moved": round(moved, 5),
        "unexplained": round(unexplained, 5),
        "features": {
            name: {
                "effect": None if by_effect is None else round(float(by_effect[k]), 5),
                "swap": round(float(by_swap[k]), 5),
            }
            for k, name in enumerate(FEATURES)
        },
    }


def decisions_of(release: Path, cases: Sequence[tuple[Case, int]]) -> list[Decisions]:
    """What a release decides about on these cases, by the number of groups."""
    stages = Stages.installed()
    policies = registry(stages, [released(LEARNED, release)])
    lockstep = Lockstep(stages, policies, [(case, seed, LEARNED) for case, seed in cases])
    seen: dict[int, list[tuple[Situation, Floats]]] = {}
    duration_s = max(case.duration_s for case, _ in cases)
    tick = 0
    while lockstep.now_s < duration_s - 1e-9:
        decided = lockstep.look()
        tick += 1
        for situation, base in _corrected(decided) if tick % EVERY == 0 else ():
            seen.setdefault(len(base), []).append((situation, base))
        lockstep.act(decided, [one.proposal for one in decided])
    return [
        Decisions(
            features_of([situation for situation, _ in some], [base for _, base in some]).table,
            np.stack([base for _, base in some]).astype(np.float32),
        )
        for _, some in sorted(seen.items())
    ]


def _corrected(decided: Sequence[Any]) -> Iterator[tuple[Situation, Floats]]:
    """Those decisions in which the network had a say."""
    for one in decided:
        wanted: Proposal = one.wanted
        grouping = one.situation.grouping
        if wanted.base is not None and grouping.by_locality and len(grouping.names) > 1:
            yield one.situation, wanted.base


def write(
    released: Released, folder: Path, per_family: int, families: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """Put importance.json and importance.png into the folder of a release.

    None, and no file, where the network had no say: services had one group each.
    """
    suite = Suite(tuple(families or FAMILIES), LOADS, SIZES, per_family, FIRST_SEED)
    fixtures = [fixture for together in suite.rounds() for fixture in together]
    decisions = decisions_of(folder, [(one.case(), one.seed) for one in fixtures])
    if not decisions:
        return None
    found = importance(released, decisions)
    (folder / "importance.json").write_text(json.dumps(found, indent=1) + "\n")
    plot_importance(found, folder / "importance.png")
    return found
