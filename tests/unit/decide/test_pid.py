"""The PID baseline: utilisation evens out, and nothing moves where nothing is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.decide.pid import MOST, Pid
from controlplane.decide.registry import Policies
from controlplane.model import Situation
from controlplane.model.observation import Floats
from tests.unit.decide.worlds import known, situation


def seen(shares: Floats, **fields: Floats) -> Situation:
    """Four endpoints in two groups."""
    base = situation(known(np.ones(4)), [0, 0, 1, 1])
    return replace(base, shares=shares, observation=replace(base.observation, **fields))  # type: ignore[arg-type]


def test_utilisation_evens_out_whatever_the_capacities() -> None:
    capacity, shares = np.array([300.0, 100.0]), np.array([0.5, 0.5])
    for _ in range(60):
        busy = np.repeat(shares * 250.0 / capacity, 2)
        shares = Pid().propose([seen(shares, utilisation=busy)])[0].shares
    assert shares == pytest.approx([0.75, 0.25], abs=0.005)


def test_without_utilisation_it_takes_what_is_in_flight() -> None:
    unsaid = np.full(4, np.nan)
    busy = seen(np.array([0.5, 0.5]), utilisation=unsaid, in_flight=np.array([9.0, 9.0, 3.0, 3.0]))
    shares = Pid().propose([busy])[0].shares
    assert shares[0] < 0.5
    assert shares[0] / shares[1] >= (1.0 - MOST) / (1.0 + MOST) - 1e-9


def test_nothing_seen_moves_nothing() -> None:
    unsaid = np.full(4, np.nan)
    blind = seen(np.array([0.7, 0.3]), utilisation=unsaid, in_flight=unsaid)
    idle = seen(np.array([0.7, 0.3]), utilisation=unsaid, in_flight=np.zeros(4))
    for one in (blind, idle):
        assert Pid().propose([one])[0].shares == pytest.approx([0.7, 0.3])


def test_it_is_installed() -> None:
    assert Policies.installed().get("pid").propose([]) == []
