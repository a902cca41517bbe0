from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.lab.arena.contestants import CONTESTANTS, REFERENCE, USUAL
from controlplane.lab.arena.draw import Room, heats
from controlplane.lab.arena.suite import SUITE

TWO_CORES = Room(1200.0)


@given(
    st.lists(st.sampled_from(sorted(CONTESTANTS)), unique=True, min_size=1),
    st.floats(1.0, 5000.0),
    st.integers(1, 60),
)
def test_everyone_plays_once_and_the_reference_in_every_heat(
    names: list[str], rate_rps: float, envoys: int
) -> None:
    drawn = heats(names, REFERENCE, TWO_CORES, rate_rps=rate_rps, envoys=envoys)
    assert all(one[0] == REFERENCE for one in drawn)
    others = [name for one in drawn for name in one[1:]]
    assert sorted(others) == sorted(set(names) - {REFERENCE})
    sizes = [len(one) for one in drawn]
    assert max(sizes) - min(sizes) <= 1
    room = TWO_CORES.lanes(rate_rps=rate_rps, envoys=envoys)
    assert max(sizes) <= room


def test_on_two_cores_no_heat_asks_for_more_than_the_machine_has() -> None:
    for scenario in SUITE.values():
        drawn = heats(
            USUAL, REFERENCE, TWO_CORES, rate_rps=scenario.rate_rps, envoys=scenario.envoys
        )
        for one in drawn:
            assert len(one) * scenario.rate_rps <= 1200.0
            assert len(one) * scenario.envoys <= 110


def test_what_is_compared_most_closely_meets() -> None:
    drawn = heats(USUAL, REFERENCE, TWO_CORES, rate_rps=280.0, envoys=4)
    assert any({"model", "learned"} <= set(one) for one in drawn)


@pytest.mark.parametrize("cores", [1, 64])
def test_a_lane_and_the_reference_always_have_room(cores: int) -> None:
    assert Room(600.0 * cores).lanes(rate_rps=20_000.0, envoys=64) == 2
