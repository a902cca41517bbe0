from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.decide import Places
from controlplane.decide.places import LEAST, order, spread
from controlplane.guard import check_zones
from controlplane.model import (
    NOWHERE,
    Endpoint,
    Near,
    Observation,
    Part,
    Service,
    ServiceName,
    Zone,
)

A, B, C = Zone("eu", "a"), Zone("eu", "b"), Zone("eu", "c")
US = Zone("us", "a")
EU = Zone("eu")
WEB = ServiceName("default/web")


def told(shares: Mapping[Zone, float]) -> dict[str, float]:
    return {str(zone): round(share, 3) for zone, share in shares.items()}


def test_as_much_stays_as_is_the_zones_part_and_the_rest_goes_where_there_is_room() -> None:
    # The example of Envoy's documentation, in its terms: 3/4 of the proxies in a zone with 1/4 of
    # the endpoints.
    shares = spread({A: 1, B: 2, C: 1}, {A: 3, B: 1})
    assert told(shares[A]) == {"eu:a": 0.333, "eu:b": 0.333, "eu:c": 0.333}
    assert told(shares[B]) == {"eu:b": 1.0}
    assert told(shares[C]) == {"eu:c": 1.0}


def test_a_region_keeps_its_requests_until_it_is_much_busier_than_its_part() -> None:
    some = spread({A: 1, US: 1}, {A: 2, US: 1})
    assert told(some[A]) == {"eu:a": 1.0}
    many = spread({A: 1, US: 1}, {A: 9, US: 1})
    assert told(many[A]) == {"eu:a": 0.778, "us:a": 0.222}  # 1.4 times a half of all
    assert told(many[US]) == {"us:a": 1.0}
    tight = spread({A: 1, US: 1}, {A: 2, US: 1}, slack=1.0)
    assert told(tight[A]) == {"eu:a": 0.75, "us:a": 0.25}


def test_an_envoy_whose_zone_has_nothing_stays_in_its_region() -> None:
    shares = spread({A: 1, B: 1, US: 2}, {A: 1, B: 0, EU: 1, US: 2})
    assert told(shares[EU]) == {"eu:b": 1.0}  # the room that its neighbours leave


def test_without_requests_each_place_is_told_to_stay_at_home() -> None:
    shares = spread({A: 1, B: 3, US: 2}, {})
    assert told(shares[A]) == {"eu:a": 1.0}
    assert told(shares[EU]) == {"eu:a": 0.25, "eu:b": 0.75}
    assert told(shares[Zone("us")]) == {"us:a": 1.0}


def test_a_forced_zone_keeps_all_and_others_make_room() -> None:
    shares = spread({A: 1, B: 1, C: 1}, {A: 4, B: 1, C: 1}, forced={A})
    assert told(shares[A]) == {"eu:a": 1.0}
    over = spread({A: 1, US: 1}, {A: 9, US: 1}, forced={A})
    assert told(over[A]) == {"eu:a": 1.0}


ZONES = [Zone(region, zone) for region in ("eu", "us", "") for zone in ("a", "b", "c")]
CAPACITY = st.dictionaries(
    st.sampled_from([*ZONES, NOWHERE]), st.integers(1, 20), min_size=1, max_size=8
)
TRAFFIC = st.dictionaries(
    st.sampled_from([*ZONES, EU, Zone("us")]), st.integers(0, 1000), max_size=9
)


@given(CAPACITY, TRAFFIC, st.floats(1.0, 3.0))
def test_shares_are_shares_and_no_zone_is_busier_than_its_region(
    capacity: dict[Zone, int], traffic: dict[Zone, int], slack: float
) -> None:
    shares = spread(capacity, traffic, slack=slack)
    for given_ in shares.values():
        assert given_.keys() <= capacity.keys()
        assert sum(given_.values()) == pytest.approx(1.0)
        assert min(given_.values()) >= LEAST * 0.9
    known = {place: n for place, n in traffic.items() if place in shares and n}
    whole, requests = sum(capacity.values()), sum(known.values())
    load = dict.fromkeys(capacity, 0.0)
    for place, n in known.items():
        for zone, share in shares[place].items():
            load[zone] += n / requests * share
    slop = 2 * LEAST * len(capacity)
    for region in {zone.region for zone in capacity}:
        here = [zone for zone in capacity if zone.region == region]
        total, room = sum(load[z] for z in here), sum(capacity[z] for z in here)
        assert total <= slack * room / whole + slop
        for zone in here:  # endpoints of a region are equally busy, as far as they get anything
            assert load[zone] <= total * capacity[zone] / room + slop


@given(CAPACITY, TRAFFIC)
def test_nobody_goes_further_than_needed(
    capacity: dict[Zone, int], traffic: dict[Zone, int]
) -> None:
    """A place that has room at home keeps all of its requests, and a region likewise."""
    shares = spread(capacity, traffic)
    known = {place: n for place, n in traffic.items() if place in shares}
    whole, requests = sum(capacity.values()), sum(known.values()) or 1
    for place, given_ in shares.items():
        here = sum(own for zone, own in capacity.items() if zone.region == place.region)
        asked = sum(n for other, n in known.items() if other.region == place.region)
        if asked / requests <= here / whole:
            assert {zone.region for zone in given_} == {place.region}
        if place not in capacity or not asked or asked / requests > 1.4 * here / whole:
            continue
        if known.get(place, 0) / asked <= capacity[place] / here:
            assert given_[place] == pytest.approx(1.0, abs=len(capacity) * LEAST)


def part(zone: Zone, count: int = 1, near: Near = Near()) -> Service:  # noqa: B008
    endpoints = tuple(Endpoint("10.0.0.1", 8000 + i, zone) for i in range(count))
    name = ServiceName(f"{WEB}@{zone}")
    return Service(name, endpoints, part=Part(0, 1, where=zone, near=near))


def ranks(found: Mapping[ServiceName, Part]) -> dict[str, tuple[int, int | None]]:
    return {name.partition("@")[2]: (one.priority, one.weight) for name, one in found.items()}


def test_shares_come_first_then_the_region_then_the_world_without_gaps() -> None:
    parts = [part(A), part(B), part(C, 3), part(US, 2)]
    assert ranks(order(A, {A: 0.75, C: 0.25}, parts)) == {
        "eu:a": (0, 750),
        "eu:c": (0, 250),
        "eu:b": (1, None),
        "us:a": (2, None),
    }
    assert ranks(order(US, {US: 1.0}, parts)) == {
        "us:a": (0, None),
        "eu:a": (1, 200),
        "eu:b": (1, 200),
        "eu:c": (1, 600),
    }


def look(at_s: float, window_s: float = 1.0, **by_place: float) -> Observation:
    seen = Observation.unknown(WEB, (), at_s)
    requests = {Zone("eu", zone): float(n) for zone, n in by_place.items()}
    return replace(seen, window_s=window_s, by_place=requests)


def settle(places: Places, parts: list[Service], seen: Observation, held: bool = False) -> bool:
    names = {one.name for one in parts}
    return bool(places.settle(parts, dict.fromkeys(names, seen), names if held else set()))


def shares_of(places: Places, where: Zone) -> dict[str, int | None]:
    found = places.orders[WEB][where]
    return {n.partition("@")[2]: one.weight for n, one in found.items() if one.priority == 0}


def test_orders_follow_the_requests_and_not_their_noise() -> None:
    places, parts = Places(check_zones), [part(A), part(B)]
    assert settle(places, parts, Observation.unknown(WEB, ()))
    assert shares_of(places, A) == {"eu:a": None}
    assert not settle(places, parts, look(1.0, a=3, b=1))  # too few to tell
    assert not settle(places, parts, look(2.0, a=51, b=49))
    changes = [settle(places, parts, look(3.0 + i, a=300, b=100)) for i in range(60)]
    assert 1 <= sum(changes) <= 8
    weights = shares_of(places, A)
    assert weights["eu:a"] == pytest.approx(667, abs=55)  # 0.5 / 0.75
    assert weights["eu:b"] == pytest.approx(333, abs=55)
    assert shares_of(places, B) == {"eu:b": None}
    before = places.orders[WEB]
    assert not settle(places, parts, look(63.0, a=300, b=100))
    assert places.orders[WEB] is before


def test_windows_that_overlap_count_once() -> None:
    some, others, parts = Places(check_zones), Places(check_zones), [part(A), part(B)]
    for i in range(40):
        settle(some, parts, look(float(i), a=300, b=100))
        settle(others, parts, look(float(i), window_s=3.0, a=900, b=300))
    assert shares_of(others, A)["eu:a"] == pytest.approx(shares_of(some, A)["eu:a"], abs=50)


def test_a_service_that_is_held_keeps_its_orders_while_its_endpoints_stay() -> None:
    places, parts = Places(check_zones), [part(A), part(B)]
    settle(places, parts, look(0.0, a=1))
    for i in range(60):
        assert not settle(places, parts, look(1.0 + i, a=300, b=100), held=True)
    assert settle(places, [part(A), part(B, 2)], look(70.0, a=300, b=100), held=True)
    assert shares_of(places, A) != {"eu:a": None}


def test_with_too_few_endpoints_no_place_is_told_apart() -> None:
    near = Near(least_endpoints=3)
    places, few = Places(check_zones), [part(A, 1, near), part(B, 1, near)]
    settle(places, few, look(0.0))
    assert places.orders[WEB] == {}
    assert not settle(places, few, look(1.0))
    assert settle(places, [part(A, 2, near), part(B, 1, near)], look(2.0))
    assert places.orders[WEB].keys() == {A, B, EU}


def test_a_zone_with_enough_endpoints_is_forced() -> None:
    near = Near(forced_from=2)
    places = Places(check_zones)
    for i in range(40):
        settle(places, [part(A, 2, near), part(B, 6, near)], look(float(i), a=300, b=100))
    assert shares_of(places, A) == {"eu:a": None}
    others = Places(check_zones)
    for i in range(40):
        settle(others, [part(A, 1, near), part(B, 3, near)], look(float(i), a=300, b=100))
    assert shares_of(others, A).keys() == {"eu:a", "eu:b"}


def test_a_service_that_goes_is_forgotten() -> None:
    places = Places(check_zones)
    assert settle(places, [part(A), part(B)], look(0.0))
    assert places.settle([Service(WEB, ())], {})
    assert places.orders == {}
    assert not places.settle([], {})
