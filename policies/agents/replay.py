"""A replay buffer of Stable-Baselines3 as arrays, each table in it once.

What comes after a step is the next step's table, but where an episode ends: those are kept apart.
That halves the greatest part of a checkpoint. It holds where the newest step ended its episode, as
it has between episodes.
"""

# ruff: noqa: ANN401 - Stable-Baselines3 has no types
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BESIDE = ("actions", "rewards", "dones", "timeouts")


def replayed(buffer: Any) -> dict[str, Any]:
    """What was put in, without what is still empty."""
    filled = buffer.buffer_size if buffer.full else buffer.pos
    ended = _ended(buffer.dones[:filled])
    return {
        "pos": buffer.pos,
        "full": buffer.full,
        "seen": {name: table[:filled] for name, table in _tables(buffer.observations)},
        "after": {name: table[:filled][ended] for name, table in _tables(buffer.next_observations)},
        **{name: getattr(buffer, name)[:filled] for name in _BESIDE},
    }


def refilled(buffer: Any, state: Any) -> None:
    """Put in what `replayed` got out of a buffer of the same size."""
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name in _BESIDE:
        getattr(buffer, name)[: len(state[name])] = state[name]
    for name, table in _tables(buffer.observations):
        table[: len(state["seen"][name])] = state["seen"][name]
    for name, table in _tables(buffer.next_observations):
        seen = state["seen"][name]
        table[: len(seen)] = np.roll(seen, -1, axis=0)
        table[: len(seen)][_ended(state["dones"])] = state["after"][name]


def _ended(dones: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """(rows,) where episodes ended: all slots' together."""
    return np.asarray(dones.astype(bool).any(axis=1))


def _tables(observations: Any) -> list[tuple[str, Any]]:
    return list(observations.items()) if isinstance(observations, dict) else [("", observations)]
