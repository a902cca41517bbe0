"""The hyperparameters of each algorithm, as recipes name them. docs/agents gives the reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every algorithm has."""

    slots: int = 32
    """Episodes side by side."""
    copies: int = 1
    """Slots in a row that play the same case and are measured by one another."""
    discount: float = 0.9
    learning_rate: float = 5e-4
    width: int = 48
    layers: int = 2
    averaging: float = 0.85
    """How much of the average of the policies so far stays when a rollout adds one."""

    def check(self, rollout: int) -> None:
        """Raise ValueError where these do not fit together, or not to rollouts of that length."""
        for name in ("slots", "copies", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: wanted at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.discount <= 1.0 or not 0.0 <= self.averaging <= 1.0:
            raise ValueError("discount, averaging: wanted 0 to 1")
        if not 0.0 <= self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: wanted 0 or more, got {self.learning_rate}")
        if self.slots % self.copies:
            raise ValueError(f"slots: wanted a multiple of the {self.copies} copies")


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch(Settings):
    """What those of Stable-Baselines3 share."""

    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: a GPU where there is one. On the CPU alone a run can be repeated to
    the last bit."""

    def check(self, rollout: int) -> None:
        """The device is one."""
        Settings.check(self, rollout)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"device: wanted auto, cpu, cuda or cuda:N, got {self.device!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ppo(Torch):
    """Proximal policy optimisation (Schulman et al. 2017)."""

    copies: int = 2
    centred: bool = False
    """Whether the answers of a service sum to 0."""
    gae_lambda: float = 0.9
    epochs: int = 6
    batch: int = 312
    clip: float = 0.2
    target_kl: float = 0.03
    entropy: float = 0.0
    deviation: float = 0.4
    """Standard deviation of the exploration at the start, in actions."""

    def check(self, rollout: int) -> None:
        """Batches are to be equal."""
        Torch.check(self, rollout)
        if self.batch < 1 or (self.slots * rollout) % self.batch:
            raise ValueError(f"batch: wanted a divisor of {self.slots * rollout}")


@dataclass(frozen=True, slots=True, kw_only=True)
class A2c(Torch):
    """Advantage actor-critic (Mnih et al. 2016), one update with what was just played."""

    copies: int = 2
    centred: bool = True
    every: int = 3
    """Steps of all slots between two updates."""
    learning_rate: float = 2e-3
    gae_lambda: float = 0.9
    entropy: float = 0.0
    deviation: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicy(Torch):
    """What the algorithms with a replay buffer share."""

    learning_rate: float = 1e-3
    buffer: int = 100_000
    batch: int = 256
    warmup: int = 1_000
    """Steps by chance before learning begins."""
    every: int = 1
    """Steps of all slots between two rounds of updates."""
    updates: int = 4
    """Updates in a round."""
    tau: float = 0.01
    """How fast the target networks follow."""

    def check(self, rollout: int) -> None:
        """Something is to be learned from."""
        Torch.check(self, rollout)
        if self.batch > self.buffer:
            raise ValueError(f"batch: wanted at most the buffer, {self.buffer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sac(OffPolicy):
    """Soft actor-critic with automatic temperature (Haarnoja et al. 2018)."""

    temperature: float = 0.05
    """At the start; from then on it follows the entropy that is wanted."""
    entropy_per_group: float = -1.5
    """The entropy that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tqc(Sac):
    """Truncated quantile critics (Kuznetsov et al. 2020): SAC with critics of distributions."""

    quantiles: int = 15
    dropped: int = 2
    """Highest quantiles of each critic that are left out: less overestimation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Td3(OffPolicy):
    """Twin delayed deep deterministic policy gradient (Fujimoto et al. 2018)."""

    noise: float = 0.2
    """Standard deviation of the exploration, in actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dqn(OffPolicy):
    """Deep Q-learning (Mnih et al. 2015) on discrete moves."""

    move: float = 0.25
    """How far a move takes a group, in actions."""
    exploring: float = 0.3
    """Part of the training in which exploration goes down."""
    explored: float = 0.05
    """Part of the moves that is by chance from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QLearning(Settings):
    """Watkins' Q-learning with a table (1989): to teach, and to compare."""

    move: float = 0.25
    learning_rate: float = 0.1
    explored: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentPpo(Ppo):
    """PPO with a memory (LSTM)."""

    memory: int = 32
    """Width of the LSTM."""
    lessons: int = 400
    """Updates in which a policy without memory is taught what it does, to be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamPpo(Ppo):
    """PPO for several agents that act at the same time: slots are agents, team after team.

    `copies` are of whole teams, in worlds whose agents share a case.
    """

    copies: int = 1
    centred: bool = True
    agents: int = 4
    actors: str = "shared"
    """`shared`: one policy for all agents of a team; `own`: one for each."""
    critics: str = "own"
    """What is judged by: `own`, what the agent sees; `all`, what all of its team see."""
    together: bool = True
    """Whether the agents of a team are all rewarded with the mean of their rewards."""

    def check(self, rollout: int) -> None:
        """Teams are complete."""
        Ppo.check(self, rollout)
        if self.slots % (self.agents * self.copies):
            raise ValueError(f"slots: wanted {self.copies} copies of whole teams of {self.agents}")
        for name, value, known in (
            ("actors", self.actors, ("shared", "own")),
            ("critics", self.critics, ("own", "all")),
        ):
            if value not in known:
                raise ValueError(f"{name}: wanted {' or '.join(known)}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndependentPpo(TeamPpo):
    """Each agent by itself (de Witt et al. 2020)."""

    actors: str = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralPpo(TeamPpo):
    """One critic that sees all while they learn (Yu et al. 2022)."""

    critics: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Maml(Settings):
    """Model-agnostic meta-learning (Finn et al. 2017): a policy that few episodes adapt."""

    slots: int = 16
    """Of each task."""
    copies: int = 8
    learning_rate: float = 2e-3
    tasks: int = 4
    """Tasks in a step."""
    inner_rate: float = 0.1
    inner_steps: int = 1
    order: int = 2
    """2: through the inner steps; 1: as if they were constant."""
    deviation: float = 0.3

    def check(self, rollout: int) -> None:
        """There is something to compare."""
        Settings.check(self, rollout)
        if self.copies < 2:
            raise ValueError("copies: wanted at least 2, which are measured by one another")
        if self.order not in (1, 2):
            raise ValueError(f"order: wanted 1 or 2, got {self.order}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reptile(Maml):
    """Reptile (Nichol et al. 2018): towards where the inner steps end."""

    learning_rate: float = 0.5
    """Part of the way."""
    inner_steps: int = 4
    order: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline(Settings):
    """One step of improvement over what was logged (Brandfonbrener et al. 2021)."""

    learning_rate: float = 2e-3
    deviation: float = 0.3
    """Standard deviation of the logged decisions around the base, in actions."""
    updates: int = 1_000
    """Of the critic, and as many of the actor."""
    batch: int = 256
    caution: float = 0.1
    """Cost of moving by a standard deviation of what was tried, in standard deviations of value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy(Dqn):
    """A low level of PPO, and DQN over strategies and over when to think of them."""

    low_part: float = 0.5
    """Part of the steps that the low level learns for, before the others."""
    switch_cost: float = 0.2
    """Of a change of strategy, in rewards."""
