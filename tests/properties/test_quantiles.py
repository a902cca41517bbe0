from __future__ import annotations

import numpy as np
import pytest
from ddsketch import DDSketch
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.observe.quantiles import ACCURACY, Bins

latencies = st.floats(1e-5, 100.0, allow_nan=False)
samples = st.lists(st.tuples(st.integers(0, 4), latencies), min_size=1, max_size=60)


def bins_of(pairs: list[tuple[int, float]]) -> Bins:
    return Bins.of(
        np.array([slot for slot, _ in pairs], dtype=np.int64),
        np.array([value for _, value in pairs]),
    )


@given(samples, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
@settings(max_examples=300, deadline=None)
def test_quantiles_are_those_of_the_library(pairs: list[tuple[int, float]], q: float) -> None:
    found = bins_of(pairs).quantile(q, 5)
    for slot in range(5):
        twin = DDSketch(ACCURACY)
        for owner, value in pairs:
            if owner == slot:
                twin.add(value)
        wanted = twin.get_quantile_value(q)
        if wanted is None:
            assert np.isnan(found[slot])
        else:
            assert found[slot] == pytest.approx(wanted, rel=1e-9)


@given(samples, samples)
@settings(max_examples=200, deadline=None)
def test_merging_is_the_same_as_seeing_all_at_once(
    one: list[tuple[int, float]], two: list[tuple[int, float]]
) -> None:
    merged, whole = Bins.merged([bins_of(one), bins_of(two)]), bins_of(one + two)
    assert merged.codes.tolist() == whole.codes.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()


@given(samples)
@settings(max_examples=200, deadline=None)
def test_the_sketch_of_a_slot_is_the_librarys_and_merges_with_others(
    pairs: list[tuple[int, float]],
) -> None:
    bins = bins_of(pairs)
    merged = DDSketch(ACCURACY)
    for slot in range(5):
        merged.merge(bins.sketch(slot))
    assert merged.count == len(pairs)
    exact = float(np.quantile([value for _, value in pairs], 0.5, method="lower"))
    assert merged.get_quantile_value(0.5) == pytest.approx(exact, rel=1.01 * ACCURACY)


@given(samples, st.permutations([0, 1, 2, 3, -1]))
def test_moved_slots_take_their_quantiles_along(
    pairs: list[tuple[int, float]], to: list[int]
) -> None:
    before = bins_of(pairs).quantile(0.9, 5)
    after = bins_of(pairs).moved(np.array(to, dtype=np.int64)).quantile(0.9, 4)
    for old, new in enumerate(to):
        if new >= 0:
            assert after[new] == before[old] or (np.isnan(after[new]) and np.isnan(before[old]))


def test_nothing_seen_is_not_a_number() -> None:
    assert np.isnan(Bins.empty().quantile(0.5, 3)).all()
    assert Bins.merged([Bins.empty()]).codes.size == 0
