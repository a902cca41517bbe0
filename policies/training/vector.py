"""Paired episodes as a vector environment of Stable-Baselines3."""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from controlplane.model.features import CUT, FEATURES
from policies.env.paired import GROUPS, Paired, Table


class PairedVecEnv(VecEnv):  # type: ignore[misc]
    """All slots begin and end their episodes together; time is the only end.

    Slots that are copies of one case are measured by one another: each is rewarded with how much
    better it did than the others' mean. That takes away what the case does to all of them, and
    cannot favour any action, since the others do not depend on it.
    """

    def __init__(self, paired: Paired, copies: int = 1) -> None:
        self._paired = paired
        self._copies = copies
        self._actions: Table = np.zeros((paired.slots, GROUPS), np.float32)
        self._returns = np.zeros(paired.slots)
        self._length = 0
        super().__init__(
            paired.slots,
            spaces.Box(-CUT, CUT, (GROUPS, len(FEATURES)), np.float32),
            spaces.Box(-1.0, 1.0, (GROUPS,), np.float32),
        )

    def reset(self) -> Table:
        """New episodes in all slots."""
        self._returns[:] = 0.0
        self._length = 0
        return self._paired.reset()

    def step_async(self, actions: Table) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Table, Table, np.ndarray[Any, Any], list[dict[str, Any]]]:
        """Play a tick."""
        table, rewards, ended = self._paired.step(self._actions)
        self._returns += rewards
        self._length += 1
        rewards = beyond_the_others(rewards, self._copies)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended:
            for i, info in enumerate(infos):
                info["terminal_observation"] = table[i]
                info["TimeLimit.truncated"] = True
                info["episode"] = {"r": float(self._returns[i]), "l": self._length, "t": 0.0}
            table = self.reset()
        return table, rewards, np.full(self.num_envs, ended), infos

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Of this environment, once for each slot asked for."""
        return [getattr(self, attr_name, None) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Slots have no attributes of their own."""
        raise NotImplementedError("slots have no attributes of their own")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        """Slots have no methods of their own."""
        raise NotImplementedError("slots have no methods of their own")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False for _ in self._get_indices(indices)]

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Draw from here on as if new."""
        if seed is not None:
            self._paired.seed(seed)
        return [seed] * self.num_envs


def beyond_the_others(rewards: Table, copies: int) -> Table:
    """Each reward minus the mean of the other copies of the same case."""
    if copies == 1:
        return rewards
    cases = rewards.reshape(-1, copies)
    others = (cases.sum(axis=1, keepdims=True) - cases) / (copies - 1)
    return np.asarray((cases - others).reshape(-1), np.float32)
