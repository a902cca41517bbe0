"""What makes a run repeatable: one thread, one seed, and the states of all that is random."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import set_random_seed


def repeatable(seed: int) -> None:
    """One thread and one seed: a run can be repeated to the last bit, on the CPU.

    On a GPU as far as its kernels allow: where one has no fixed order, torch warns and goes on.
    """
    torch.set_num_threads(1)
    gpu = torch.cuda.is_available()
    if gpu:  # what cuBLAS asks for; without it torch refuses to multiply
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=gpu)
    set_random_seed(seed)


def chance() -> dict[str, Any]:
    """Where the generators stand that all of a process share."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_chance(state: dict[str, Any]) -> None:
    """As `chance` said."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
