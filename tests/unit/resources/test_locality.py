from __future__ import annotations

import pytest

from controlplane.model import Endpoint, Near, Part, Service, ServiceName, Zone
from controlplane.resources.locality import (
    Level,
    Locality,
    Place,
    in_parts,
)

WEB = ServiceName("default/web")


def at(last: int, region: str = "", zone: str = "") -> Endpoint:
    return Endpoint(f"10.0.0.{last}", 80, Zone(region, zone))


def places(*levels: list[Place]) -> Locality:
    return Locality(failover=tuple(Level(places=tuple(one)) for one in levels))


EU, US = Place(region="eu"), Place(region="us")
ONE, TWO, THREE = at(1, "eu", "a"), at(2, "us"), at(3)


def parts(locality: Locality | None, *endpoints: Endpoint) -> dict[str, tuple[object, ...]]:
    found = in_parts(Service(WEB, endpoints), locality)
    return {one.name: (one.part, *one.endpoints) for one in found}


def test_each_place_is_a_part_and_who_is_nowhere_comes_last() -> None:
    assert parts(places([EU], [US]), THREE, TWO, ONE) == {
        "default/web@eu": (Part(0), ONE),
        "default/web@us": (Part(1), TWO),
        "default/web@*": (Part(2), THREE),
    }


def test_without_a_wish_or_endpoints_a_service_is_itself() -> None:
    assert parts(None, ONE, TWO) == {"default/web": (None, ONE, TWO)}
    assert parts(places([EU])) == {"default/web": (None,)}


def test_a_place_without_endpoints_leaves_no_gap_between_priorities() -> None:
    assert parts(places([EU], [US]), TWO, THREE) == {
        "default/web@us": (Part(0), TWO),
        "default/web@*": (Part(1), THREE),
    }


def test_places_of_a_level_share_by_weight_unless_one_is_alone() -> None:
    both = places([Place(region="eu", weight=3), US])
    assert parts(both, ONE, TWO) == {
        "default/web@eu": (Part(0, 3), ONE),
        "default/web@us": (Part(0, 1), TWO),
    }
    assert parts(both, ONE) == {"default/web@eu": (Part(0), ONE)}


def test_an_endpoint_belongs_to_the_first_place_that_takes_it() -> None:
    near, other = Place(region="eu", zone="a"), at(4, "eu", "b")
    assert parts(places([near], [EU]), ONE, other) == {
        "default/web@eu:a": (Part(0), ONE),
        "default/web@eu": (Part(1), other),
    }


def test_who_drains_goes_with_its_place_or_with_the_last() -> None:
    here, gone = at(5, "us"), at(6, "asia")
    service = Service(WEB, (ONE, TWO, at(7, "us")), draining=(gone, here, at(8, "eu")))
    found = in_parts(service, places([EU], [US]))
    assert {one.name: one.draining for one in found} == {
        "default/web@eu": (at(8, "eu"),),
        "default/web@us": (gone, here),
    }


def test_a_part_is_of_the_cluster_of_its_service() -> None:
    (part,) = in_parts(Service(WEB, (ONE,)), places([EU]))
    assert part.cluster == WEB
    assert Service(WEB, (ONE,)).cluster == WEB


def near(**said: object) -> Locality:
    return Locality.model_validate({"zoneAware": {"preferLocal": said}})


def test_each_zone_is_a_part_with_its_share_of_the_capacity() -> None:
    large = Endpoint("10.0.0.4", 80, Zone("eu", "b"), {"weir.dev/capacity": "2"})
    assert parts(near(), ONE, large, TWO, THREE) == {
        "default/web@*": (Part(0, 200, where=Zone(), near=Near()), THREE),
        "default/web@eu:a": (Part(0, 200, where=Zone("eu", "a"), near=Near()), ONE),
        "default/web@eu:b": (Part(0, 400, where=Zone("eu", "b"), near=Near()), large),
        "default/web@us": (Part(0, 200, where=Zone("us"), near=Near()), TWO),
    }
    assert parts(near(), ONE) == {
        "default/web@eu:a": (Part(0, where=Zone("eu", "a"), near=Near()), ONE)
    }
    assert parts(near()) == {"default/web": (None,)}


def test_what_is_said_of_zones_arrives() -> None:
    said = near(minEndpointsThreshold=3, force={"minEndpointsInZoneThreshold": 2})
    (part,) = (one.part for one in in_parts(Service(WEB, (ONE,)), said))
    assert part is not None
    assert part.near == Near(3, 2)


def test_least_time_is_said_instead_of_the_own_zone_first() -> None:
    said = Locality.model_validate({"zoneAware": {"leastTime": {"minEndpointsThreshold": 2}}})
    (part,) = (one.part for one in in_parts(Service(WEB, (ONE,)), said))
    assert part is not None
    assert part.near == Near(2, least_time=True)
    for wrong in ("{}", '{"leastTime": {}, "preferLocal": {}}'):
        with pytest.raises(ValueError, match="either preferLocal or leastTime"):
            Locality.model_validate_json(f'{{"zoneAware": {wrong}}}')


def test_who_drains_goes_with_its_zone_or_with_the_last() -> None:
    leaving = (at(5, "eu", "a"), at(6, "asia"))
    found = in_parts(Service(WEB, (ONE, TWO), draining=leaving), near())
    assert {one.name: one.draining for one in found} == {
        "default/web@eu:a": (at(5, "eu", "a"),),
        "default/web@us": (at(6, "asia"),),
    }


def test_capacities_that_are_none_count_as_one() -> None:
    for text in ("x", "0", "nan"):
        odd = Endpoint("10.0.0.7", 80, Zone("eu", "a"), {"weir.dev/capacity": text})
        found = in_parts(Service(WEB, (odd, at(8, "eu", "b"))), near())
        assert [one.part.weight for one in found if one.part] == [500, 500]
