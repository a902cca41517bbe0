"""Episodes side by side as a vector environment of Stable-Baselines3."""

# ruff: noqa: ANN401 - the signatures are those of Stable-Baselines3
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from policies.env.episodes import Episodes, Table
from policies.env.service import moved, seen


class EpisodesVecEnv(VecEnv):  # type: ignore[misc]
    """All slots begin and end their episodes together; time is the only end.

    Slots that are copies of one case are measured by one another: each is rewarded with how much
    better it did than the others' mean. That takes away what the case does to all of them, and
    cannot favour any action, since the others do not depend on it.
    """

    def __init__(
        self, episodes: Episodes, copies: int = 1, actions: spaces.Space[Any] | None = None
    ) -> None:
        self._episodes = episodes
        self._copies = copies
        self._actions: Any = None
        self._returns = np.zeros(episodes.slots)
        self._length = 0
        self._drawn_from: Any = episodes.state()
        super().__init__(
            episodes.slots,
            seen(),
            actions or moved(),
        )

    def observed(self, table: Table) -> Any:
        """What the learner is shown: here the table."""
        return table

    def rewarded(self, rewards: Table) -> Table:
        """What the learner is rewarded with: here how much better than the other copies."""
        return beyond_the_others(rewards, self._copies)

    def reset(self) -> Any:
        """New episodes in all slots."""
        self._returns[:] = 0.0
        self._length = 0
        self._drawn_from = self._episodes.state()
        return self.observed(self._episodes.reset())

    @property
    def begun(self) -> bool:
        """Whether the episodes have begun and nothing was done in them yet."""
        return self._length == 0

    def state(self) -> Any:
        """What `restore` takes so that the next `reset` draws the episodes of now again."""
        return self._drawn_from

    def restore(self, state: Any) -> None:
        """As `state` was."""
        self._episodes.restore(state)

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Table, np.ndarray[Any, Any], list[dict[str, Any]]]:
        """Play a tick."""
        table, rewards, ended = self._episodes.step(self._actions)
        self._returns += rewards
        self._length += 1
        shown = self.observed(table)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended:
            infos = [self._last(shown, i) for i in range(self.num_envs)]
            shown = self.reset()
        return shown, self.rewarded(rewards), np.full(self.num_envs, ended), infos

    def _last(self, shown: Any, slot: int) -> dict[str, Any]:
        """What is to be known of an episode that time has ended."""
        last = {k: v[slot] for k, v in shown.items()} if isinstance(shown, dict) else shown[slot]
        return {
            "terminal_observation": last,
            "TimeLimit.truncated": True,
            "episode": {"r": float(self._returns[slot]), "l": self._length, "t": 0.0},
        }

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
            self._episodes.seed(seed)
        return [seed] * self.num_envs


def beyond_the_others(rewards: Table, copies: int) -> Table:
    """Each reward minus the mean of the other copies of the same case."""
    if copies == 1:
        return rewards
    cases = rewards.reshape(-1, copies)
    others = (cases.sum(axis=1, keepdims=True) - cases) / (copies - 1)
    return np.asarray((cases - others).reshape(-1), np.float32)
