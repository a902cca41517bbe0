"""The algorithms by name: what a recipe may set of each, and what makes a learner of it.

Reading a recipe imports no torch; making a learner does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from policies.agents import settings as of
from policies.env.episodes import World

Told = Callable[[int, Any, float], None]
"""Told after each rollout: steps so far, the policy that has just played (a module as in `actor`;
None where it cannot be played without its memory), and the mean return of the newest episodes."""


Losses = Callable[[int, Mapping[str, float]], None]
"""Told after an update: steps so far, and losses and the like by name."""

Between = Callable[[], None]
"""Called between episodes, where `Learner.state` may be asked for."""


def nothing() -> None:
    """A `Between` that does not care."""


class Learner(Protocol):
    """Something that learns, once."""

    def log_to(self, losses: Losses) -> None:
        """Tell of losses and the like while learning, if it has any."""
        ...

    def learn(self, steps: int, told: Told, between: Between = nothing) -> None:
        """Take about so many steps in the world, summed over all slots.

        After `restore`: those that are left of so many.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that it needs to go on as if nothing had happened, but for the global random states.

        A tree that `policies.training.checkpoint` can save. To be asked for in `between` alone,
        and used before learning goes on: it is no copy.
        """
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be as the learner was whose state this is; both of the same settings, world and seed."""
        ...

    def blank(self) -> Any:  # noqa: ANN401
        """A module like that of `actor`, with any weights, to be filled."""
        ...

    def actor(self) -> Any:  # noqa: ANN401 - a torch module, which this file does not import
        """What was learned: a module from (b, g, features) to (b, g) actions, of any size.

        Actions beyond -1..1 are cut there.
        """
        ...


@runtime_checkable
class TakesLog(Protocol):
    """A learner that can learn from what others wrote down."""

    def take(self, log: Any) -> None:  # noqa: ANN401 - `policies.agents.offline.Log`, of torch
        """Learn from this log, instead of from one that is played."""
        ...


@runtime_checkable
class Begins(Protocol):
    """A learner that can begin as a policy which was trained before."""

    def begin(self, actor: Any) -> None:  # noqa: ANN401 - a torch module
        """Be as this one, which has the shape of its own, before anything is learned."""
        ...


@runtime_checkable
class LearnsMore(Protocol):
    """A learner of more than its actor, which is all that a release holds."""

    def beside(self) -> dict[str, Any]:
        """What was learned beside the actor: a tree that `policies.training.checkpoint` can save,
        for the folder of the run."""
        ...


Make = Callable[[Any, World, int], Learner]
"""From settings, a world and a seed."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One of them."""

    title: str
    settings: type[of.Settings]
    made_by: str
    """`module:function` under `policies.agents`."""
    beside: str = ""
    """What it learns beside its actor, in words: no release holds it (`LearnsMore`)."""
    begins: bool = False
    """Whether a recipe may have a `start`: its learner is one that `Begins`."""

    def learner(self, wanted: of.Settings, world: World, seed: int) -> Learner:
        """A learner that has not learned anything yet. Deterministic for the seed."""
        module, _, function = self.made_by.partition(":")
        make: Make = getattr(import_module(f"policies.agents.{module}"), function)
        return make(wanted, world, seed)


ALGORITHMS: Mapping[str, Algorithm] = {
    "ppo": Algorithm("PPO", of.Ppo, "on_policy:ppo", begins=True),
    "a2c": Algorithm("A2C", of.A2c, "on_policy:a2c", begins=True),
    "recurrent-ppo": Algorithm("Recurrent PPO", of.RecurrentPpo, "recurrent:recurrent_ppo"),
    "shared-ppo": Algorithm("PPO of a team, one policy", of.TeamPpo, "team:team_ppo"),
    "independent-ppo": Algorithm("PPO of a team, each its own", of.IndependentPpo, "team:team_ppo"),
    "central-ppo": Algorithm("PPO of a team, one critic", of.CentralPpo, "team:team_ppo"),
    "sac": Algorithm("SAC", of.Sac, "off_policy:sac"),
    "tqc": Algorithm("TQC", of.Tqc, "off_policy:tqc"),
    "td3": Algorithm("TD3", of.Td3, "off_policy:td3"),
    "dqn": Algorithm("DQN", of.Dqn, "moves:dqn"),
    "maml": Algorithm("MAML", of.Maml, "meta_policy:maml"),
    "reptile": Algorithm("Reptile", of.Reptile, "meta_policy:reptile"),
    "hierarchy": Algorithm(
        "levels of decisions", of.Hierarchy, "hierarchy:hierarchy", "the levels above"
    ),
    "offline": Algorithm("from decision logs", of.Offline, "offline:offline"),
    "q-learning": Algorithm("tabular Q-learning", of.QLearning, "tabular:q_learning"),
}


def algorithm(name: str) -> Algorithm:
    """The algorithm of that name; ValueError names those that there are."""
    if name not in ALGORITHMS:
        raise ValueError(f"no algorithm {name!r}; there are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
