"""Episodes in pairs: the learner's run, and the base's run of the same requests.

The reward of a step is what the learner's requests got minus what the base's got, so that luck
with the load, which is most of the variance, cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Proposal
from controlplane.model.features import FEATURES, features_of
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from controlplane.model.residual import corrected
from policies.env.curriculum import Dealer, Stage
from policies.env.draw import Draw, Drawn
from policies.env.episodes import BOUND, GROUPS, Table
from policies.env.goals import Felt, Promised, worth
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.env.strategy import STRATEGIES, Strategy
from policies.simulator import Outcome

BASE = "model"
MOST_SAVED = 3.0
"""One step in a crowd must not outweigh an episode."""


def advantage(ours: Felt, theirs: Felt, typical_s: float, objective: Objective) -> float:
    """The reward of a step: how much better it was than the base's on the same requests.

    Half of it is the difference in what the objective says, in which every second counts the same.
    Alone it teaches to gain a little in good seconds and to lose much in bad ones; so, as far as
    mean latency counts, the other part is the time that was saved per request, over what a request
    of this episode typically takes. A request that fails saves nothing: were its time counted as
    none, failing would be rewarded wherever requests take long.
    """
    by_goals = worth(ours, objective) - worth(theirs, objective)
    fine = min(one.requests - one.failed for one in (ours.outcome, theirs.outcome))
    if not fine:
        return 0.5 * by_goals
    part = fine / ours.outcome.requests
    saved = part * (theirs.outcome.mean_s - ours.outcome.mean_s) / typical_s
    return 0.5 * by_goals + objective.latency_mean * float(np.clip(saved, -MOST_SAVED, MOST_SAVED))


class Paired:
    """Some episodes side by side, all of the same length, each beside its reference.

    `copies` slots in a row play the same case, with one reference for all: that is cheaper, and
    their differences are due to the actions alone.
    """

    def __init__(
        self,
        draw: Draw,
        slots: int,
        seed: int,
        copies: int = 1,
        *,
        objective: Objective | None = None,
        discount: float = 1.0,
        stages: Sequence[Stage] = (),
    ) -> None:
        """`discount`: the learner's, which a potential of the objective has to know. `stages`: what
        is drawn before `draw`, with episodes of the same length."""
        if slots % copies:
            raise ValueError(f"{slots} slots cannot be {copies} copies of the same cases")
        self.slots = slots
        self._copies = copies
        self._draw = draw
        self._objective = objective or Objective()
        self._promised = Promised(self._objective, discount)
        self._stages = Stages.installed()
        self._policies = self._stages.decide.Policies.installed()
        self._dealer = Dealer(draw, seed, copies=copies, stages=stages)
        self._lockstep: Lockstep | None = None
        self._arranged: list[Strategy] | None = None
        self.context: Table = np.zeros((slots, 1), np.float32)
        """1 where the endpoints are in several regions."""
        self._decided: list[Any] = []
        self.episodes: list[tuple[Outcome, Outcome]] = []
        """(learner, base) of each slot since its episode began."""

    def seed(self, seed: int) -> None:
        """Draw from here on as if new."""
        self._dealer.seed(seed)

    def state(self) -> Any:  # noqa: ANN401 - what the dealer says it is
        """All that the next episodes are drawn by."""
        return self._dealer.state()

    def restore(self, state: Any) -> None:  # noqa: ANN401
        """As it was."""
        self._dealer.restore(state)

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        return self.begin(self._dealer.deal(self.slots // self._copies))

    def begin(self, drawn: Sequence[Drawn]) -> Table:
        """The same with (slots / copies) cases that were drawn elsewhere."""
        cases = [(case, seed, BASE) for case, seed in drawn]
        learners = [case for case in cases for _ in range(self._copies)]
        self._lockstep = Lockstep(self._stages, self._policies, [*learners, *cases])
        self._arranged = None
        self.context = context_of(drawn, self._copies)
        self._decided = self._lockstep.look()
        pairs = self._pairs()
        self._promised.begin([ours for ours, _ in pairs])
        self.episodes = [(ours.outcome, theirs.outcome) for ours, theirs in pairs]
        return self._table()

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those that can be arranged."""
        return STRATEGIES

    def arrange(self, chosen: NDArray[np.int64]) -> None:
        """(slots,) which strategy is in force from the next step on."""
        self._arranged = [STRATEGIES[i] for i in chosen.tolist()]

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        assert self._lockstep is not None, "reset comes first"
        proposals = [decision.proposal for decision in self._decided]
        for i in range(self.slots):
            proposals[i] = moved(proposals[i], actions[i])
        self._lockstep.act(self._decided, proposals, self._arranged)
        self._decided = self._lockstep.look()
        pairs = self._pairs()
        self.episodes = [
            (ours + more.outcome, theirs + their_more.outcome)
            for (ours, theirs), (more, their_more) in zip(self.episodes, pairs, strict=True)
        ]
        shaping = self._promised.shaping([ours for ours, _ in pairs])
        rewards = [
            advantage(ours, theirs, base.mean_s, self._objective) + more
            for (ours, theirs), (_, base), more in zip(pairs, self.episodes, shaping, strict=True)
        ]
        ended = self._lockstep.now_s >= self._draw.duration_s - 1e-9
        return self._table(), np.array(rewards, np.float32), ended

    def ratios(self) -> Floats:
        """(slots,) mean latency over the base's."""
        return np.array([ours.mean_s / theirs.mean_s for ours, theirs in self.episodes])

    def _pairs(self) -> list[tuple[Felt, Felt]]:
        """(learner, base) of each slot since the last tick."""
        assert self._lockstep is not None
        felt = self._lockstep.felt()
        theirs = [felt[self.slots + i // self._copies] for i in range(self.slots)]
        return list(zip(felt[: self.slots], theirs, strict=True))

    def _table(self) -> Table:
        own = self._decided[: self.slots]
        seen = features_of([d.situation for d in own], [d.proposal.shares for d in own])
        table = np.zeros((self.slots, GROUPS, len(FEATURES)), np.float32)
        width = min(GROUPS, seen.table.shape[1])
        table[:, :width] = seen.table[:, :width]
        return table


def context_of(drawn: Sequence[Drawn], copies: int) -> Table:
    """(slots, 1) of `Strategic.context`."""
    several = [len(case.regions) > 1 for case, _ in drawn for _ in range(copies)]
    return np.array(several, np.float32)[:, None]


def moved(base: Proposal, action: NDArray[np.floating[Any]]) -> Proposal:
    """What the base proposes, corrected by (GROUPS,) actions in -1..1."""
    count = len(base.shares)
    if count > GROUPS:  # endpoints that carry weights of their own: the base acts
        return base
    residual = BOUND * np.clip(action[:count].astype(np.float64), -1.0, 1.0)
    return Proposal(shares=corrected(base.shares, residual), policy="learned", base=base.shares)
