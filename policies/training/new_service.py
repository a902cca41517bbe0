"""Few-shot adaptation of a policy to a service that it never saw, judged on later minutes of it.

Each way of adapting gets minutes of the service and gives a policy; all of these are then played on
the same later requests, beside the base. Minutes are episodes in which the policy explores: windows
of 40 s, no two of which have the same requests. They are played beside the base on the same
requests, as in training, so the service is either simulated or has a twin in the simulator (`weir
sim calibrate`). Windows of a service differ by their requests alone, and each return is one beyond
the base's, so windows are measured by one another as copies of a case are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from policies.agents.adaptation import Adaptation, Scaled, adapted_to
from policies.agents.meta_policy import MetaLearner
from policies.agents.network import PRESENT, Actor
from policies.agents.repeat import repeatable
from policies.agents.settings import Maml, Reptile
from policies.env.one_service import OneService, Staying
from policies.env.paired import Paired
from policies.env.simulated import Simulated
from policies.league.suite import DURATION_S, Fixture, Suite
from policies.simulator import Case, Outcome
from policies.simulator.state import BIN_FROM, BIN_WIDTH

DISCOUNT = 0.85
EPISODES = 8
"""Windows of 40 s: five minutes of a service."""
RELEASED, TEN_TIMES = "released", "scratch x 10"
GAINS = (0.5, 1.0, 1.5, 2.0)
"""What is chosen among; the base is there beside each."""
LEARNED_FROM, JUDGED_BY = (0, 1_000_000), (1_000_000, 2_000_000)
"""Seeds of the requests."""
TUNED = Adaptation(rate=3e-4, deviation=0.2)
LAST_LAYER_RATE, SCRATCH_RATE = 3e-3, 5e-3
"""Larger where less is moved, or where there is nothing to lose."""


@dataclass(frozen=True, slots=True)
class Got:
    """Of one way on one service, to the base on the same requests."""

    mean: float
    p99: float
    errors: float
    """Part of the requests that failed, less the base's."""


def services(families: Sequence[str], first_seed: int, seeds: int) -> list[Fixture]:
    """Some of each family, at loads in turn; of a size that training has."""
    suite = Suite(tuple(families), (0.7, 0.85), ((8, 32),), seeds, first_seed)
    every = [one for fixtures in suite.rounds() for one in fixtures]
    return [one for one in every if one.load == suite.loads[one.seed % 2]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows(OneService):
    """Windows of a service, none of them twice: each has requests that no other had."""

    _met: set[int] = field(default_factory=set)

    def case(self, random: np.random.Generator) -> tuple[Case, int]:
        """The service, with requests that were not drawn before."""
        case, seed = OneService.case(self, random)
        while seed in self._met:
            case, seed = OneService.case(self, random)
        self._met.add(seed)
        return case, seed


def minutes(case: Case, slots: int, copies: int, seeds: tuple[int, int], seed: int) -> Paired:
    """So many windows of the service side by side at a time, each of them for `copies` slots."""
    draw = Windows(service=case, seeds=seeds, duration_s=DURATION_S)
    return Paired(draw, slots, seed, copies, discount=DISCOUNT)


def five_minutes(case: Case, seed: int) -> Paired:
    """Of the service; further five with each reset."""
    return minutes(case, EPISODES, 1, LEARNED_FROM, seed)


def decides(case: Case) -> bool:
    """Whether the base has cut the service into groups in the first half of an episode.

    Where it never does, a policy has nothing to say, and all ways of adapting it are the same.
    """
    played = minutes(case, 1, 1, LEARNED_FROM, 0)
    table = played.reset()
    for _ in range(int(DURATION_S) // 2):
        if table[0, :, PRESENT].sum() > 1.0:
            return True
        table, _, _ = played.step(np.zeros(table.shape[:2], np.float32))
    return False


def judged(actors: Mapping[str, nn.Module], case: Case, episodes: int, seed: int) -> dict[str, Got]:
    """All of these on the same windows, so many, beside one base for all."""
    ways = len(actors)
    played = minutes(case, ways * episodes, ways, JUDGED_BY, seed)
    table, ended = played.reset(), False
    while not ended:
        actions = np.zeros(table.shape[:2], np.float32)
        for i, actor in enumerate(actors.values()):
            with torch.no_grad():
                actions[i::ways] = actor(torch.from_numpy(table[i::ways])).numpy()
        table, _, ended = played.step(actions)
    return {name: _got(played.episodes[i::ways]) for i, name in enumerate(actors)}


def _got(pairs: Sequence[tuple[Outcome, Outcome]]) -> Got:
    ours, base = pairs[0]
    for more, more_base in pairs[1:]:
        ours, base = ours + more, base + more_base
    return Got(
        ours.mean_s / base.mean_s,
        quantile_s(ours, 0.99) / quantile_s(base, 0.99),
        ours.error_ratio - base.error_ratio,
    )


def quantile_s(felt: Outcome, q: float) -> float:
    """A quantile of the successes; NaN without any.

    Histograms have bins of 2 %, as wide as what is to be told apart: inside of a bin the requests
    are taken to lie evenly, by the logarithm of their latency.
    """
    up_to = np.cumsum(felt.histogram)
    wanted = q * up_to[-1]
    if wanted <= 0.0:
        return float("nan")
    found = int(np.searchsorted(up_to, wanted))
    part = 1.0 - (up_to[found] - wanted) / felt.histogram[found]
    return float(np.exp(BIN_FROM + (found + part) * BIN_WIDTH))


def chosen(actor: nn.Module, case: Case, seed: int) -> nn.Module:
    """How far to go with what a policy says, by the mean latency of five minutes without noise.

    Each gain is played on all of these windows; the best one is taken where it is below the base,
    and else the base itself.
    """
    played = minutes(case, EPISODES * len(GAINS), len(GAINS), LEARNED_FROM, seed)
    scaled = [Scaled(actor, gain) for gain in GAINS]
    table, ended = played.reset(), False
    while not ended:
        actions = np.zeros(table.shape[:2], np.float32)
        for i, one in enumerate(scaled):
            with torch.no_grad():
                actions[i :: len(GAINS)] = one(torch.from_numpy(table[i :: len(GAINS)])).numpy()
        table, _, ended = played.step(actions)
    logs = np.log(played.ratios()).reshape(EPISODES, len(GAINS)).mean(axis=0)
    best = int(np.argmin(logs))
    return scaled[best] if logs[best] < 0.0 else Scaled(actor, 0.0)


def blank(seed: int) -> Actor:
    """A policy that has learned nothing: about the base."""
    repeatable(seed)
    return Actor(48, 2, centred=True)


def meta_trained(way: str, start: nn.Module, steps: int, seed: int) -> MetaLearner:
    """From a policy on: MAML of either order (`maml`, `first-order`), or `reptile`.

    A task is a service of the training.
    """
    settings: Maml
    if way == "reptile":
        settings = Reptile(slots=EPISODES, copies=EPISODES, discount=DISCOUNT)
    else:
        order = 1 if way == "first-order" else 2
        settings = Maml(
            slots=EPISODES, copies=EPISODES, discount=DISCOUNT, learning_rate=5e-4, order=order
        )
    learner = MetaLearner(settings, Services(1 if way == "reptile" else 2), seed)
    learner.begin(start)
    learner.learn(steps, lambda *_: None)
    return learner


@dataclass(frozen=True, slots=True)
class Services:
    """A world whose tasks are services, each of which stays for some times five minutes."""

    stays: int
    """Times that all slots are dealt windows of the same service."""
    count: int = 4

    @property
    def steps(self) -> int:
        """As the simulator's."""
        return Simulated().steps

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Paired:
        """Of such a service in all slots, each with a window of its own: measured by one another
        like copies."""
        if slots != copies:
            raise ValueError("all slots have the same service")
        return Paired(Staying(draws=self.stays * slots), slots, seed, discount=DISCOUNT)

    def tasks(self) -> Sequence[Services]:
        """As many as are wanted at a time: they differ by what they draw."""
        return [self] * self.count


def adapted_all(
    fixture: Fixture, released: nn.Module, meta: Mapping[str, MetaLearner], seed: int
) -> dict[str, nn.Module]:
    """The policy of each way, after its minutes of the service."""
    case = fixture.case()

    def five() -> Paired:
        return five_minutes(case, seed)

    scratch = Adaptation(rate=SCRATCH_RATE)
    actors: dict[str, nn.Module] = {
        RELEASED: released,
        "fine-tuned": adapted_to(released, five(), TUNED, seed),
        "last layer": adapted_to(
            released, five(), replace(TUNED, only="head.", rate=LAST_LAYER_RATE), seed
        ),
        "chosen": chosen(released, case, seed),
        "scratch": adapted_to(blank(seed), five(), scratch, seed),
        TEN_TIMES: adapted_to(blank(seed), five(), replace(scratch, rounds=10), seed),
    }
    for name, learner in meta.items():
        actors[name] = learner.module(learner.adapted_to(five(), 1))
    return actors
