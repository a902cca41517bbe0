"""Which endpoints share a weight, and how rarely that changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.decide.classes import classes
from controlplane.decide.grouping import CONFIRM_S, REST_S, Grouped, carried, median, regroup
from controlplane.model import Actuation, Endpoint, Estimate, Observation, Service
from controlplane.model.observation import Floats
from tests.unit.decide.worlds import NAME, known, service

TWO = np.array([80.0, 80.0, 80.0, 80.0, 20.0, 20.0, 20.0, 20.0])


def look(n: int, in_flight: float = 3.0, proxies: int = 12) -> Observation:
    blank = Observation.unknown(NAME, known(np.ones(n)).endpoints)
    return replace(blank, in_flight=np.full(n, in_flight), proxies=proxies)


def after(
    seconds: int,
    capacity: Floats,
    before: Grouped | None = None,
    of: Service | None = None,
    start_s: float = 0.0,
    **seen: float,
) -> Grouped:
    """The grouping after so many seconds of these beliefs."""
    grouped, estimate = before, known(capacity)
    of = of or service(len(capacity))
    for second in range(seconds):
        grouped = regroup(
            grouped,
            of,
            estimate.endpoints,
            estimate,
            look(len(capacity), **seen),  # type: ignore[arg-type]
            start_s + second,
        )
    assert grouped is not None
    return grouped


@pytest.mark.parametrize(
    ("capacities", "expected"),
    [
        ([1, 1, 1, 1], [0, 0, 0, 0]),
        ([1.0, 1.1, 1.2, 1.3], [0, 0, 0, 0]),
        ([4, 4, 1, 1], [1, 1, 0, 0]),
        ([4, 4, 4, 4, 4, 1], [1, 1, 1, 1, 1, 0]),
        ([80, 80, 60, 60, 40, 40, 20, 20], [1, 1, 1, 1, 1, 1, 0, 0]),
        ([80, 80, 80, 40, 40, 40, 20, 20], [2, 2, 2, 1, 1, 1, 0, 0]),
        ([4.0, 4.3, 2.2, 2.0, 1.0, 1.1, 0.5, 0.5], [3, 3, 2, 2, 1, 1, 0, 0]),
        ([8.0, 4.0, 2.0, 1.0], [1, 1, 0, 0]),
        ([4.0, 4.0, 2.6, 2.6, 1.6, 1.6], [2, 2, 1, 1, 0, 0]),
        ([4.0, 4.0, 2.6, 1.6, 1.6, 1.6], [1, 1, 1, 0, 0, 0]),
        ([9, 9, 9, 3, 3, 3, 1, 1, 1], [2, 2, 2, 1, 1, 1, 0, 0, 0]),
        ([5], [0]),
        ([2, 1], [1, 0]),
    ],
)
def test_classes_are_where_the_gaps_are(capacities: list[float], expected: list[int]) -> None:
    assert classes(np.log(np.array(capacities, dtype=float))).tolist() == expected


def test_there_are_few_classes_however_unlike_the_endpoints_are() -> None:
    assert classes(np.linspace(0.0, 10.0, 100)).max() == 3
    assert classes(np.linspace(0.0, 10.0, 8)).max() == 1


def test_alike_endpoints_are_one_group() -> None:
    assert after(30, np.full(8, 50.0)).grouping.names == ("c1",)


def test_unlike_endpoints_are_grouped_by_class() -> None:
    grouping = after(1, TWO).grouping
    assert grouping.by_locality
    assert grouping.index.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_one_group_where_few_proxies_see_much_and_classes_where_many_see_little() -> None:
    assert len(after(30, TWO, in_flight=6.0, proxies=1).grouping.names) == 1
    assert len(after(30, TWO, in_flight=6.0, proxies=24).grouping.names) == 2


def test_generations_come_apart_of_the_two_groups_that_were_there() -> None:
    clear = np.array([20.0, 20.0, 40.0, 40.0, 80.0, 80.0, 80.0, 80.0])
    two = after(30, np.where(clear > 20.0, 60.0, 20.0))
    assert len(two.grouping.names) == 2
    assert after(30, clear, two, start_s=30.0).grouping.index.tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize(("middle", "fast", "groups"), [(38.0, 38.0, 2), (30.5, 50.0, 3)])
def test_around_the_distance_of_generations_groups_stay_as_they_are(
    middle: float, fast: float, groups: int
) -> None:
    first = grouped = after(30, np.array([20.0, 20.0, middle, middle, *[fast] * 4]))
    assert len(first.grouping.names) == groups
    border = np.array([20.0, 20.0, 30.5, 30.5, 46.0, 46.0, 46.0, 46.0])
    random = np.random.default_rng(1)
    for second in range(30, 150):
        wandering = border * np.exp(random.normal(0.0, 0.05, len(border)))
        grouped = after(1, wandering, grouped, start_s=second)
    assert grouped.grouping is first.grouping


@pytest.mark.parametrize("flooded", [0, 1])
def test_a_flood_makes_one_group_at_once_and_who_is_flooded_stays_where_it_is(
    flooded: int,
) -> None:
    """Envoy forgets what is in flight at an endpoint that moves to a group of another name."""
    estimate = known(TWO)
    before = after(30, TWO, proxies=24)
    queues = np.where(before.grouping.index == flooded, 400.0, 20.0)
    seen = replace(look(8, proxies=24), in_flight=queues)
    grouped = regroup(before, service(8), estimate.endpoints, estimate, seen, 30.0)
    assert grouped.grouping.names == (before.grouping.names[flooded],)
    # It is over at once, and still it takes a rest before they are divided again.
    rested = after(int(REST_S) - 1, TWO, grouped, start_s=31.0)
    assert rested.grouping is grouped.grouping
    again = after(int(REST_S) + 2, TWO, grouped, start_s=31.0)
    assert len(again.grouping.names) == 2


def test_much_in_flight_for_a_moment_is_no_flood() -> None:
    before = after(30, TWO, proxies=24)
    assert after(1, TWO, before, start_s=30.0, in_flight=24 * 1.5, proxies=24).grouping is (
        before.grouping
    )


def test_between_the_two_it_stays_as_it_is() -> None:
    one = after(30, TWO, in_flight=6.0, proxies=1)
    two = after(30, TWO, in_flight=6.0, proxies=24)
    assert after(60, TWO, one, start_s=30, in_flight=6.0, proxies=6).grouping is one.grouping
    assert after(60, TWO, two, start_s=30, in_flight=6.0, proxies=6).grouping is two.grouping


def test_a_new_grouping_has_to_be_wanted_for_some_time() -> None:
    before = after(int(REST_S) + 1, TWO)
    changed = TWO.copy()
    changed[0] = 20.0
    briefly = after(int(CONFIRM_S), changed, before, start_s=REST_S + 1)
    assert briefly.grouping is before.grouping
    back = after(1, TWO, briefly, start_s=REST_S + 1 + CONFIRM_S)
    assert back.wanted is None
    moved = after(int(CONFIRM_S) + 1, changed, back, start_s=40.0)
    assert moved.grouping.index.tolist()[0] == moved.grouping.index.tolist()[4]
    assert moved.grouping.names == before.grouping.names, "groups that go on keep their names"


def test_two_changes_have_a_rest_between_them() -> None:
    before = after(1, np.full(8, 50.0))
    first = after(10, TWO, before, start_s=100.0)
    assert len(first.grouping.names) == 2
    second = after(int(REST_S) - 8, np.full(8, 50.0), first, start_s=110.0)
    assert second.grouping is first.grouping


def test_noise_in_the_capacities_never_regroups() -> None:
    random = np.random.default_rng(5)
    base = np.exp(random.normal(0.0, 0.1, 12)) * np.repeat([60.0, 25.0], 6)
    grouped = after(1, base)
    first = grouped.grouping
    for second in range(200):
        noisy = base * np.exp(random.normal(0.0, 0.05, 12))
        grouped = after(1, noisy, grouped, start_s=1.0 + second)
    assert grouped.grouping is first


def test_labels_of_class_are_the_groups() -> None:
    of = service(4)
    labels = ("big", "big", "", "tiny")
    of = replace(
        of,
        endpoints=tuple(
            replace(e, labels={"weir.dev/class": label} if label else {})
            for e, label in zip(of.endpoints, labels, strict=True)
        ),
    )
    grouping = after(5, np.ones(4), of=of).grouping
    assert [grouping.names[g] for g in grouping.index] == ["big", "big", "other", "tiny"]


def test_endpoints_that_come_join_those_like_them_and_nobody_else_moves() -> None:
    before = after(30, TWO)
    of = service(8)
    new = Endpoint("10.1.1.1", 80)
    of = replace(of, endpoints=(new, *of.endpoints[1:]))
    ids = tuple(e.id for e in of.endpoints)
    estimate = known(np.array([21.0, *TWO[1:]]))
    estimate = replace(estimate, endpoints=ids)
    grouped = regroup(before, of, ids, estimate, look(8), 31.0)
    assert grouped.grouping.names == before.grouping.names
    assert grouped.grouping.index[1:].tolist() == before.grouping.index[1:].tolist()
    assert grouped.grouping.index[0] == grouped.grouping.index[7]


def test_a_group_that_loses_its_last_endpoint_is_gone() -> None:
    before = after(30, TWO)
    estimate = known(TWO[:4])
    grouped = regroup(before, service(4), estimate.endpoints, estimate, look(4), 31.0)
    assert grouped.grouping.names == (before.grouping.names[1],)


@pytest.mark.parametrize(
    ("actuation", "overlay", "by_locality"),
    [
        (Actuation.AUTO, False, True),
        (Actuation.AUTO, True, False),
        (Actuation.GROUPS, True, True),
        (Actuation.ENDPOINTS, False, False),
    ],
)
def test_auto_is_groups_where_the_cluster_is_ours(
    actuation: Actuation, overlay: bool, by_locality: bool
) -> None:
    of = service(8, actuation=actuation, overlay=overlay)
    grouping = after(2, TWO, of=of).grouping
    assert grouping.by_locality is by_locality
    assert len(grouping.names) == (2 if by_locality else 8)


@pytest.mark.parametrize(("load", "groups"), [(0.7, 2), (0.95, 1)])
def test_a_slow_endpoint_is_put_alone_only_while_there_is_room(load: float, groups: int) -> None:
    capacity = np.full(8, 80.0)
    before = after(5, capacity)
    capacity[2] = 20.0
    estimate = known(capacity, 0.05, load * float(capacity.sum()))
    for second in range(30):
        before = regroup(before, service(8), estimate.endpoints, estimate, look(8), 50.0 + second)
    assert len(before.grouping.names) == groups


def test_equal_needs_one_group_only() -> None:
    assert len(after(30, TWO, of=service(8, policy="equal")).grouping.names) == 1


def test_what_is_uncertain_is_not_grouped_by() -> None:
    estimate = Estimate(known(TWO).endpoints, 0.0, TWO)
    grouped = regroup(None, service(8), estimate.endpoints, estimate, look(8), 0.0)
    assert len(grouped.grouping.names) == 1


def test_a_service_without_endpoints_has_no_groups() -> None:
    of = Service(NAME, (), policy="model")
    grouped = regroup(None, of, (), Estimate.unknown(()), Observation.unknown(NAME, ()), 0.0)
    assert grouped.grouping.names == ()


def test_a_service_that_had_no_endpoints_is_grouped_as_a_new_one() -> None:
    none = after(1, np.zeros(0))
    estimate = known(TWO)
    assert after(1, TWO, before=none).grouping.index.tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert carried(none.grouping, estimate.endpoints, estimate).index.tolist() == [0] * 8
    nobody = known(np.zeros(0))
    assert carried(after(1, TWO).grouping, nobody.endpoints, nobody).names == ()


@pytest.mark.parametrize("n", [1, 2, 3, 8, 101])
def test_the_middle_of_few_values_is_what_numpy_says(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    assert median(values) == np.median(values)
    values[n // 2] = np.nan
    assert np.isnan(median(values))
    assert np.isnan(median(values[:0]))
