"""The Gymnasium environment: one service, a tick a step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from controlplane.model.features import CUT, FEATURES
from policies.env.draw import Draw
from policies.env.paired import GROUPS, Paired, Table


class ServiceEnv(gymnasium.Env):  # type: ignore[misc]
    """Balance one simulated service for 40 s, a decision a second.

    Observation: `controlplane.model.features`, (GROUPS, features), zero where there is no group.
    Action: for each group, in -1..1, how far to move its share from the base's (times BOUND, on
    the logarithmic scale). Reward: how much better than the base on the same requests.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, draw: Draw | None = None) -> None:
        self.observation_space = spaces.Box(-CUT, CUT, (GROUPS, len(FEATURES)), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (GROUPS,), np.float32)
        self._paired = Paired(draw or Draw(), slots=1, seed=0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, dict[str, Any]]:
        """A new case."""
        super().reset(seed=seed)
        if seed is not None:
            self._paired.seed(seed)
        return self._paired.reset()[0], {}

    def step(self, action: Table) -> tuple[Table, float, bool, bool, dict[str, Any]]:
        """One second. Episodes end by time alone."""
        table, rewards, ended = self._paired.step(action[None, :])
        ours, theirs = self._paired.episodes[0]
        return table[0], float(rewards[0]), False, ended, {"mean_s": (ours.mean_s, theirs.mean_s)}
