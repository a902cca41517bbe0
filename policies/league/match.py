"""How a case is played: the control loop as it serves, over the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.league.players import Player
from policies.league.suite import SKIPPED_S, Fixture, peak_load
from policies.simulator import Case, Outcome


@dataclass(frozen=True, slots=True)
class Got:
    """What the requests of a case got, those of the first seconds apart."""

    mean_s: float
    """Of the successes; NaN without any."""
    p99_s: float
    error_ratio: float
    requests: int

    @classmethod
    def of(cls, outcome: Outcome) -> Got:
        """Of an outcome."""
        return cls(outcome.mean_s, outcome.quantile_s(0.99), outcome.error_ratio, outcome.requests)


@dataclass(frozen=True, slots=True)
class Played:
    """A fixture, and what each player's requests got: the same requests for all."""

    fixture: Fixture
    proxies: int
    peak_load: float
    got: Mapping[str, Got]

    @property
    def gated(self) -> bool:
        """Whether targets count it: never asked for more than there is, not even for a second."""
        return self.peak_load <= 1.0


def play(
    fixtures: Sequence[Fixture],
    players: Sequence[Player],
    stages: Stages,
    registry: Any,  # noqa: ANN401 - the decide stage's own registry
) -> list[Played]:
    """Every player on every fixture. All of these last equally long."""
    cases = [(one.case(), one.seed) for one in fixtures]
    got = {
        player.name: [Got.of(one) for one in outcomes(cases, player, stages, registry)]
        for player in players
    }
    return [
        Played(
            one, case.proxies, peak_load(case), {name: all_of[i] for name, all_of in got.items()}
        )
        for i, (one, (case, _)) in enumerate(zip(fixtures, cases, strict=True))
    ]


def outcomes(
    cases: Sequence[tuple[Case, int]],
    player: Player,
    stages: Stages,
    registry: Any,  # noqa: ANN401
    *,
    skipped_s: float = SKIPPED_S,
) -> list[Outcome]:
    """What the requests of (case, seed) get from a player, those before `skipped_s` not counted."""
    lockstep = Lockstep(
        stages,
        registry,
        [(balanced(case, player), seed, player.policy) for case, seed in cases],
        actuation=player.actuation,
    )
    duration_s = max(case.duration_s for case, _ in cases)
    counted = skipped_s <= 0.0
    while lockstep.now_s < duration_s - 1e-9:
        decided = lockstep.look()
        lockstep.act(decided, [None if one is None else one.proposal for one in decided])
        if not counted and lockstep.now_s >= skipped_s:
            lockstep.outcomes()
            counted = True
    lockstep.drain()
    return lockstep.outcomes()


def balanced(case: Case, player: Player) -> Case:
    """The case, with the player's algorithm at every proxy."""
    return replace(case, balancing=replace(case.balancing, algorithm=player.algorithm))
