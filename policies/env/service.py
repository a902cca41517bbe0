"""Gymnasium environments: one service, or many side by side, a tick a step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from controlplane.model.features import CUT, FEATURES
from policies.env.draw import Draw
from policies.env.episodes import GROUPS, Table, World
from policies.env.simulated import Simulated

FIRST_SEED = 0
"""Where no seed is given."""


def seen() -> spaces.Box:
    """What is seen of a service: (GROUPS, features), zero where there is no group."""
    return spaces.Box(-CUT, CUT, (GROUPS, len(FEATURES)), np.float32)


def moved() -> spaces.Box:
    """For each group, in -1..1, how far its share is from the base's (times BOUND, logarithmic)."""
    return spaces.Box(-1.0, 1.0, (GROUPS,), np.float32)


class EpisodesEnv(gymnasium.Env):  # type: ignore[misc]
    """One slot of a world. Reward: how much better than the base on the same requests."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, world: World) -> None:
        self.observation_space, self.action_space = seen(), moved()
        self._episodes = world.episodes(1, FIRST_SEED)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, dict[str, Any]]:
        """A new case."""
        super().reset(seed=seed)
        if seed is not None:
            self._episodes.seed(seed)
        return self._episodes.reset()[0], {}

    def step(self, action: Table) -> tuple[Table, float, bool, bool, dict[str, Any]]:
        """One tick. Episodes end by time alone. `ratio`: mean latency over the base's so far."""
        table, rewards, ended = self._episodes.step(np.asarray(action)[None, :])
        ratio = float(self._episodes.ratios()[0])
        return table[0], float(rewards[0]), False, ended, {"ratio": ratio}


class ServiceEnv(EpisodesEnv):
    """Balance one simulated service for 40 s, a decision a second."""

    def __init__(self, draw: Draw | None = None) -> None:
        super().__init__(Simulated(draw or Draw()))


class EpisodesVectorEnv(VectorEnv):  # type: ignore[misc]
    """Many slots of a world. They end together; the next step begins new episodes in all."""

    metadata: dict[str, Any] = {  # noqa: RUF012 - gymnasium's own convention
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, world: World, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = seen(), moved()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._episodes = world.episodes(num_envs, FIRST_SEED)
        self._ended = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, dict[str, Any]]:
        """New cases in all slots; one seed draws them all."""
        if isinstance(seed, list):
            raise ValueError("one seed draws the cases of all slots")
        super().reset(seed=seed)
        if seed is not None:
            self._episodes.seed(seed)
        self._ended = False
        return self._episodes.reset(), {}

    def step(self, actions: Table) -> tuple[Table, Table, Any, Any, dict[str, Any]]:
        """One tick of all."""
        never = np.zeros(self.num_envs, bool)
        if self._ended:
            self._ended = False
            rewards = np.zeros(self.num_envs, np.float32)
            return self._episodes.reset(), rewards, never, never.copy(), {}
        table, rewards, self._ended = self._episodes.step(actions)
        return table, rewards, never, np.full(self.num_envs, self._ended), {}
