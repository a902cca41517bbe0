"""Which part of its requests each place sends where, by what is believed of all zones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.decide import between
from controlplane.decide.regions import CAREFUL, LEAST, MOVE
from controlplane.model import Situation
from controlplane.model.folding import ERRORS
from controlplane.model.observation import Floats
from tests.unit.decide.worlds import known, situation

ZONE = np.array([0, 1])
WAY = np.array([[0.0, 0.01], [0.01, 0.0]])
EVEN = np.array([1.0, 1.0])


def whole(capacity: list[float], load: float, utilisation: bool = True) -> Situation:
    """Four endpoints, the first two in the first zone."""
    each = np.array(capacity)
    asked = situation(known(each, demand=load * each.sum()), [0, 0, 1, 1])
    said = np.full(4, load if utilisation else np.nan)
    return replace(asked, observation=replace(asked.observation, utilisation=said))


def shares(of: Situation, traffic: Floats = EVEN, before: Floats | None = None) -> Floats:
    found = between(of, ZONE, traffic, WAY, before)
    assert found is not None
    assert np.allclose(found.sum(axis=1), 1.0)
    return found


def test_places_that_are_alike_send_home_but_for_what_measures_the_way() -> None:
    found = shares(whole([100.0] * 4, 0.6))
    assert np.allclose(np.diag(found), 1.0 - LEAST / 2, atol=1e-3)


def test_where_capacities_are_not_known_nothing_is_decided() -> None:
    assert between(whole([np.nan] * 4, 0.6), ZONE, EVEN, WAY) is None
    assert between(whole([100.0] * 4, 0.6), ZONE, np.zeros(2), WAY) is None


def test_a_place_that_has_more_than_it_can_serve_sends_it_on() -> None:
    found = shares(whole([100.0] * 4, 0.6), np.array([0.9, 0.1]))
    assert 0.2 < found[0, 1] < 0.5
    assert found[1, 1] > 0.98


def test_without_utilisation_it_is_planned_for_a_busier_service() -> None:
    """30 % seen may be 60 %: a place with 80 % of it is not left alone with that."""
    traffic = np.array([0.8, 0.2])
    sure = shares(whole([100.0] * 4, 0.3), traffic)
    unsure = shares(whole([100.0] * 4, 0.3, utilisation=False), traffic)
    assert unsure[0, 1] > sure[0, 1] + 0.05
    busy = shares(whole([100.0] * 4, CAREFUL), traffic)
    assert unsure[0, 1] <= busy[0, 1] + 0.01


def test_a_zone_that_fails_is_left_and_one_that_fails_as_all_do_is_not() -> None:
    fine = whole([100.0] * 4, 0.4)

    def failing(*ratios: float) -> Floats:
        table = fine.estimate.table.copy()
        table[ERRORS] = ratios
        return shares(replace(fine, estimate=replace(fine.estimate, table=table)))

    assert failing(0.0, 0.0, 0.6, 0.6)[1, 0] > 0.6
    assert failing(0.6, 0.6, 0.6, 0.6)[1, 0] < 0.05


def test_a_zone_whose_requests_take_longer_than_they_should_is_sent_less() -> None:
    """A queue that the belief does not know of."""
    fine = whole([100.0] * 4, 0.6)

    def taking(*latency_s: float) -> Floats:
        look = replace(
            fine.observation,
            latency_s=np.array(latency_s),
            latency_samples=np.full(4, 100.0),
            succeeded=np.full(4, 60.0),
            failed=np.zeros(4),
        )
        return shares(replace(fine, observation=look))

    assert taking(0.05, 0.05, 0.4, 0.4)[1, 0] > 0.2
    assert taking(0.05, 0.05, 0.05, 0.05)[1, 0] < 0.02


def test_shares_go_a_part_of_the_way_each_time() -> None:
    of, before = whole([100.0] * 4, 0.6), np.full((2, 2), 0.5)
    target = shares(of)
    found = shares(of, before=before)
    assert found == pytest.approx(before + MOVE * (target - before))
