"""Features: relative, padded, without a single NaN, and the same alone as in a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.model import Estimate, Observation, Situation
from controlplane.model.features import CUT, FEATURES, features, features_of
from controlplane.model.residual import corrected
from tests.unit.decide.test_learned import situations

AT = {name: i for i, name in enumerate(FEATURES)}


def even(situation: Situation) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.full(len(situation.grouping.names), 1.0 / len(situation.grouping.names))


def test_a_batch_gives_what_each_situation_gives_alone() -> None:
    mixed = situations(2, 8, 2) + situations(1, 9, 3) + situations(1, 4, 1)
    seen = features_of(mixed, [even(s) for s in mixed])
    assert seen.table.shape == (4, 3, len(FEATURES))
    for row, count, situation in zip(seen.table, seen.counts, mixed, strict=True):
        assert row[:count] == pytest.approx(features(situation, even(situation)), abs=1e-6)
        assert not row[count:].any()


def test_a_service_ten_times_as_slow_and_as_rare_looks_the_same_beside_itself() -> None:
    situation = situations(1, 8, 2)[0]
    look = situation.observation
    slower = replace(
        look,
        window_s=10.0 * look.window_s,
        latency_s=10.0 * look.latency_s,
        latency_p99_s=10.0 * look.latency_p99_s,
    )
    estimate = situation.estimate
    half = replace(situation, observation=slower)
    other = features(replace(half, estimate=estimate), even(situation))
    same = features(situation, even(situation))
    for name in ("latency", "latency_p99", "in_flight", "throughput", "capacity", "size"):
        assert other[:, AT[name]] == pytest.approx(same[:, AT[name]], abs=0.02), name


def test_the_slower_group_shows_the_longer_latency() -> None:
    situation = situations(1, 8, 2)[0]
    slow = np.where(situation.grouping.index == 0, 4.0, 1.0)
    look = situation.observation
    table = features(
        replace(situation, observation=replace(look, latency_s=0.05 * slow)), even(situation)
    )
    assert table[0, AT["latency"]] - table[1, AT["latency"]] == pytest.approx(np.log(4.0), abs=0.01)


def test_what_acts_is_seen_as_a_correction_of_the_base() -> None:
    situation = situations(1, 8, 2)[0]
    base = np.array([0.5, 0.5])
    acting = replace(situation, shares=corrected(base, np.array([0.3, -0.3])))
    table = features(acting, base)
    difference = table[0, AT["current_over_base"]] - table[1, AT["current_over_base"]]
    assert difference == pytest.approx(0.6, abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300])
@pytest.mark.parametrize(
    "field", ["succeeded", "failed", "in_flight", "latency_s", "latency_p99_s", "latency_samples"]
)
def test_no_number_however_strange_gets_through(field: str, value: float) -> None:
    situation = situations(1, 6, 3)[0]
    for some in (slice(None), slice(0, 2)):
        broken = getattr(situation.observation, field).copy()
        broken[some] = value
        look = replace(situation.observation, **{field: broken})
        table = features(replace(situation, observation=look), even(situation))
        assert np.isfinite(table).all()
        assert np.abs(table).max() <= CUT


def test_of_a_service_that_was_never_seen_all_groups_look_alike() -> None:
    situation = situations(1, 6, 3)[0]
    ids = situation.grouping.endpoints
    unseen = replace(
        situation,
        observation=Observation.unknown(situation.service.name, ids),
        estimate=Estimate.unknown(ids),
    )
    table = features(unseen, even(situation))
    assert np.isfinite(table).all()
    assert np.ptp(table, axis=0).max() == pytest.approx(0.0, abs=1e-6)
    assert not table[:, AT["seen"]].any()
    assert table[:, AT["present"]].all()


def test_nothing_gives_nothing() -> None:
    assert features_of([], []).table.shape == (0, 0, len(FEATURES))


def test_every_feature_has_one_name() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
