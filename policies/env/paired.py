"""Episodes in pairs: the learner's run, and the base's run of the same requests.

The reward of a step is what the learner's requests got minus what the base's got, so that luck
with the load, which is most of the variance, cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Proposal
from controlplane.model.features import FEATURES, features_of
from controlplane.model.observation import Floats
from controlplane.model.residual import corrected
from policies.env.draw import Draw
from policies.env.episodes import BOUND, GROUPS, Table
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.simulator import Outcome

BASE = "model"
ERROR_COST = 5.0
MOST_SAVED = 3.0
"""One step in a crowd must not outweigh an episode."""


def value(outcome: Outcome) -> float:
    """What the requests of a step got, higher is better: -log mean latency - 5 x error ratio."""
    if outcome.requests == outcome.failed:
        return -ERROR_COST * outcome.error_ratio
    return float(-np.log(outcome.mean_s)) - ERROR_COST * outcome.error_ratio


def advantage(ours: Outcome, theirs: Outcome, typical_s: float) -> float:
    """The reward of a step: how much better it was than the base's on the same requests.

    Half of it is the difference of `value`, in which every second counts the same. Alone it
    teaches to gain a little in good seconds and to lose much in bad ones; so the other part is
    the time that was saved per request, over what a request of this episode typically takes.
    """
    by_ratio = value(ours) - value(theirs)
    requests = max(ours.requests, 1)
    saved = (theirs.latency_sum_s - ours.latency_sum_s) / (requests * typical_s)
    return 0.5 * by_ratio + float(np.clip(saved, -MOST_SAVED, MOST_SAVED))


class Paired:
    """Some episodes side by side, all of the same length, each beside its reference.

    `copies` slots in a row play the same case, with one reference for all: that is cheaper, and
    their differences are due to the actions alone.
    """

    def __init__(
        self, draw: Draw, slots: int, seed: int, copies: int = 1, stages: Stages | None = None
    ) -> None:
        if slots % copies:
            raise ValueError(f"{slots} slots cannot be {copies} copies of the same cases")
        self.slots = slots
        self._copies = copies
        self._draw = draw
        self._stages = stages or Stages.installed()
        self._policies = self._stages.decide.Policies.installed()
        self._random = np.random.default_rng(seed)
        self._lockstep: Lockstep | None = None
        self._decided: list[Any] = []
        self.episodes: list[tuple[Outcome, Outcome]] = []
        """(learner, base) of each slot since its episode began."""

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        self._random = np.random.default_rng(seed)

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        drawn = [self._draw.case(self._random) for _ in range(self.slots // self._copies)]
        cases = [(case, seed, BASE) for case, seed in drawn]
        learners = [case for case in cases for _ in range(self._copies)]
        self._lockstep = Lockstep(self._stages, self._policies, [*learners, *cases])
        self._decided = self._lockstep.look()
        self.episodes = self._pairs()
        return self._table()

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        assert self._lockstep is not None, "reset comes first"
        proposals = [decision.proposal for decision in self._decided]
        for i in range(self.slots):
            proposals[i] = _moved(proposals[i], actions[i])
        self._lockstep.act(self._decided, proposals)
        self._decided = self._lockstep.look()
        pairs = self._pairs()
        self.episodes = [
            (ours + more, theirs + their_more)
            for (ours, theirs), (more, their_more) in zip(self.episodes, pairs, strict=True)
        ]
        rewards = [
            advantage(ours, theirs, base.mean_s)
            for (ours, theirs), (_, base) in zip(pairs, self.episodes, strict=True)
        ]
        ended = self._lockstep.now_s >= self._draw.duration_s - 1e-9
        return self._table(), np.array(rewards, np.float32), ended

    def ratios(self) -> Floats:
        """(slots,) mean latency over the base's."""
        return np.array([ours.mean_s / theirs.mean_s for ours, theirs in self.episodes])

    def _pairs(self) -> list[tuple[Outcome, Outcome]]:
        """(learner, base) of each slot since the last tick."""
        assert self._lockstep is not None
        outcomes = self._lockstep.outcomes()
        theirs = [outcomes[self.slots + i // self._copies] for i in range(self.slots)]
        return list(zip(outcomes[: self.slots], theirs, strict=True))

    def _table(self) -> Table:
        own = self._decided[: self.slots]
        seen = features_of([d.situation for d in own], [d.proposal.shares for d in own])
        table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)
        table[:, : seen.table.shape[1]] = seen.table[:, :GROUPS]
        return table


def _moved(base: Proposal, action: NDArray[np.floating[Any]]) -> Proposal:
    count = len(base.shares)
    residual = BOUND * np.clip(action[:count].astype(np.float64), -1.0, 1.0)
    return Proposal(shares=corrected(base.shares, residual), policy="learned", base=base.shares)
