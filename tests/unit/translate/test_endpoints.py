from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from envoy_data_plane.envoy.config.core.v3 import HealthStatus
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model import Endpoint, Near, Part, Service, ServiceName, Verdict, Zone
from controlplane.translate.endpoints import Assignments
from tests.unit.translate.scenes import grouped, single

WEB = ServiceName("default/web")


def service(count: int = 4, name: str = "default/web") -> Service:
    where = Zone("r", "z")
    return Service(
        ServiceName(name), tuple(Endpoint(f"10.0.0.{i + 1}", 80, where) for i in range(count))
    )


def read(wire: bytes) -> ClusterLoadAssignment:
    return ClusterLoadAssignment.parse(wire)


def shape(wire: bytes) -> list[tuple[str, int | None, list[tuple[str, int | None]]]]:
    """(sub-zone, weight, (address, weight) of each endpoint) of each locality."""
    out = []
    for locality in read(wire).endpoints:
        members = []
        for one in locality.lb_endpoints:
            assert one.endpoint is not None
            assert one.endpoint.address is not None
            socket = one.endpoint.address.socket_address
            assert socket is not None
            members.append((socket.address, one.load_balancing_weight))
        assert locality.locality is not None
        out.append((locality.locality.sub_zone, locality.load_balancing_weight, members))
    return out


def common(
    made: Assignments, services: Sequence[Service], verdicts: Mapping[ServiceName, Verdict]
) -> Mapping[str, bytes]:
    """What Envoys of no place get."""
    return made.resources(services, verdicts).common


def test_a_group_is_a_locality_with_the_weight_and_its_endpoints_are_equal() -> None:
    web = service()
    made = common(Assignments(), [web], {WEB: grouped(web, [0, 1, 0, 1], [70, 30])})
    assert shape(made["default/web"]) == [
        ("a", 70, [("10.0.0.1", None), ("10.0.0.3", None)]),
        ("b", 30, [("10.0.0.2", None), ("10.0.0.4", None)]),
    ]


def test_groups_give_up_what_is_ejected_and_single_endpoints_need_not() -> None:
    one = service()
    for verdict, factor in (
        (grouped(one, [0, 0, 0, 1], [70, 30]), 100),
        (single(one, [7, 1, 1, 1]), None),
    ):
        policy = read(common(Assignments(), [one], {one.name: verdict})["web"]).policy
        assert (policy.overprovisioning_factor if policy else None) == factor


def test_endpoint_weights_stand_in_one_locality_of_weight_one() -> None:
    web = service(3)
    made = common(Assignments(), [web], {WEB: single(web, [5, 1, 4])})
    assert shape(made["default/web"]) == [
        ("", 1, [("10.0.0.1", 5), ("10.0.0.2", 1), ("10.0.0.3", 4)])
    ]


def test_a_locality_has_the_region_and_zone_that_its_endpoints_agree_on() -> None:
    places = [Zone("r", "x"), Zone("r", "x"), Zone("r", "y"), Zone("q", "x")]
    web = Service(WEB, tuple(Endpoint(f"10.0.0.{i}", 80, z) for i, z in enumerate(places)))
    made = common(Assignments(), [web], {WEB: grouped(web, [0, 0, 1, 1], [1, 1])})
    found = [one.locality for one in read(made["default/web"]).endpoints]
    assert [(one.region, one.zone) for one in found if one] == [("r", "x"), ("", "")]
    made = common(Assignments(), [web], {WEB: grouped(web, [0, 0, 0, 1], [1, 1])})
    found = [one.locality for one in read(made["default/web"]).endpoints]
    assert [(one.region, one.zone) for one in found if one] == [("r", ""), ("q", "x")]


def test_the_full_and_the_unique_bare_name_carry_the_same_endpoints() -> None:
    web, other, again = service(), service(2, "shop/api"), service(1, "default/api")
    every = [web, other, again]
    made = common(
        Assignments(),
        every,
        {one.name: grouped(one, [0] * len(one.endpoints), [1]) for one in every},
    )
    assert set(made) == {"default/web", "web", "shop/api", "default/api"}
    assert read(made["web"]).cluster_name == "web"
    assert read(made["default/web"]).cluster_name == "default/web"
    assert shape(made["web"]) == shape(made["default/web"])


def test_unchanged_weights_give_the_same_bytes_object() -> None:
    web = service()
    assignments = Assignments()
    first = common(assignments, [web], {WEB: grouped(web, [0, 1, 0, 1], [7, 3])})
    same = common(assignments, [web], {WEB: grouped(web, [0, 1, 0, 1], [7, 3])})
    other = common(assignments, [web], {WEB: grouped(web, [0, 1, 0, 1], [6, 4])})
    assert same["default/web"] is first["default/web"]
    assert same["web"] is first["web"]
    assert other["default/web"] != first["default/web"]


def test_a_service_without_endpoints_is_empty_on_purpose() -> None:
    assignments = Assignments()
    web = service()
    common(assignments, [web], {WEB: grouped(web, [0, 0, 0, 0], [1])})
    made = common(assignments, [service(0)], {})
    assert read(made["default/web"]).cluster_name == "default/web"
    assert not read(made["default/web"]).endpoints
    assert common(assignments, [service(0)], {})["web"] is made["web"]


def test_an_assignment_is_never_made_up() -> None:
    with pytest.raises(ValueError, match="default/web: no verdict"):
        common(Assignments(), [service()], {})


@given(st.data())
def test_what_is_kept_from_push_to_push_never_shows(data: st.DataObject) -> None:
    kept = Assignments()
    for _ in range(data.draw(st.integers(1, 6))):
        web = service(data.draw(st.integers(1, 6)))
        count = len(web.endpoints)
        weight = st.integers(1, 100_000)
        if data.draw(st.booleans()):
            groups = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
            index = np.unique(groups, return_inverse=True)[1].tolist()
            weights = data.draw(st.lists(weight, min_size=max(index) + 1, max_size=max(index) + 1))
            verdict = grouped(web, index, weights)
        else:
            verdict = single(web, data.draw(st.lists(weight, min_size=count, max_size=count)))
        assert common(kept, [web], {WEB: verdict}) == common(Assignments(), [web], {WEB: verdict})


def part(name: str, endpoint: int, count: int, of: Part) -> Service:
    endpoints = tuple(Endpoint(f"10.0.{endpoint}.{i + 1}", 80) for i in range(count))
    return Service(ServiceName(f"default/web@{name}"), endpoints, part=of)


def test_parts_are_one_assignment_by_priority_and_weight() -> None:
    eu, us = part("eu", 1, 3, Part(0, 3, 120)), part("us", 2, 1, Part(0, 1, 120))
    rest = part("*", 3, 1, Part(1, None, 120))
    verdicts = {
        eu.name: grouped(eu, [0, 0, 1], [20_000, 10_000]),
        us.name: grouped(us, [0], [10_000]),
        rest.name: single(rest, [10_000]),
    }
    made = common(Assignments(), [eu, us, rest], verdicts)
    assert set(made) == {"default/web", "web"}
    message = read(made["default/web"])
    assert message.policy is not None
    assert message.policy.overprovisioning_factor == 120
    assert [(one.priority, one.load_balancing_weight) for one in message.endpoints] == [
        (0, 200_000),
        (0, 100_000),
        (0, 100_000),
        (1, 1),
    ]


def test_new_weights_of_a_part_leave_the_others_and_a_part_that_goes_is_gone() -> None:
    eu, us = part("eu", 1, 2, Part(0)), part("us", 2, 1, Part(1))
    verdicts = {eu.name: grouped(eu, [0, 1], [70, 30]), us.name: grouped(us, [0], [1])}
    made = Assignments()
    first = common(made, [eu, us], verdicts)["default/web"]
    assert common(made, [eu, us], verdicts)["default/web"] is first
    verdicts[eu.name] = grouped(eu, [0, 1], [60, 40])
    weights = [one[1] for one in shape(common(made, [eu, us], verdicts)["default/web"])]
    assert weights == [60, 40, 1]
    alone = part("us", 2, 1, Part(0))
    verdicts[alone.name] = grouped(alone, [0], [1])
    message = read(common(made, [alone], verdicts)["default/web"])
    assert [one.priority for one in message.endpoints] == [0]


def test_endpoints_that_drain_stand_apart_with_no_share() -> None:
    leaving = Endpoint("10.0.9.9", 80, draining=True)
    assignments = Assignments()
    for verdict in (
        grouped(replace(service(2), draining=(leaving,)), [0, 1], [7, 3]),
        single(replace(service(2), draining=(leaving,)), [7, 3]),
    ):
        made = read(common(assignments, [verdict.service], {WEB: verdict})["default/web"])
        *serving, last = made.endpoints
        statuses = {member.health_status for one in serving for member in one.lb_endpoints}
        assert statuses == {HealthStatus.UNKNOWN}
        (member,) = last.lb_endpoints
        assert member.health_status is HealthStatus.DRAINING
    plain = grouped(service(2), [0, 1], [7, 3])
    after = read(common(assignments, [plain.service], {WEB: plain})["default/web"])
    assert len(after.endpoints) == 2


A, B = Zone("eu", "a"), Zone("eu", "b")


def zone(where: Zone, endpoint: int, count: int) -> Service:
    return part(str(where), endpoint, count, Part(0, 500, where=where, near=Near()))


def placed(wire: bytes) -> list[tuple[int, int | None]]:
    return [(one.priority, one.load_balancing_weight) for one in read(wire).endpoints]


def test_the_envoys_of_a_place_get_other_priorities_and_weights_of_the_same_parts() -> None:
    a, b = zone(A, 1, 2), zone(B, 2, 1)
    api = service(1, "default/api")
    verdicts = {
        a.name: grouped(a, [0, 1], [30, 10]),
        b.name: grouped(b, [0], [1]),
        api.name: grouped(api, [0], [1]),
    }
    assert a.part is not None
    assert b.part is not None
    orders = {
        a.cluster: {
            A: {a.name: replace(a.part, weight=None), b.name: replace(b.part, priority=1)},
            B: {a.name: replace(a.part, priority=1), b.name: replace(b.part, weight=None)},
            Zone("eu"): {},
        }
    }
    made = Assignments()
    found = made.resources([a, b, api], verdicts, orders)
    assert placed(found.common["web"]) == [(0, 37_500_000), (0, 12_500_000), (0, 50_000_000)]
    assert found.by_place.keys() == {A, B}  # for the others it is as for all
    assert found.by_place[A].keys() == {"default/web", "web"}
    assert placed(found.by_place[A]["web"]) == [(0, 30), (0, 10), (1, 50_000_000)]
    assert placed(found.by_place[B]["web"]) == [(1, 37_500_000), (1, 12_500_000), (0, 1)]
    again = made.resources([a, b, api], verdicts, orders)
    assert again.by_place[A]["web"] is found.by_place[A]["web"]
    # New weights within a zone are news for all, whatever their place.
    verdicts[a.name] = grouped(a, [0, 1], [20, 20])
    moved = made.resources([a, b, api], verdicts, orders)
    assert placed(moved.common["web"])[:2] == [(0, 25_000_000), (0, 25_000_000)]
    assert placed(moved.by_place[A]["web"]) == [(0, 20), (0, 20), (1, 50_000_000)]
    assert moved == Assignments().resources([a, b, api], verdicts, orders)
    assert made.resources([a, b, api], verdicts).by_place == {}


def test_all_zones_as_one_are_one_locality_of_equal_endpoints_whatever_their_weights() -> None:
    a, b = Zone("eu", "a"), Zone("us", "b")
    parts = [
        Service(
            ServiceName(f"default/web@{where}"),
            tuple(Endpoint(f"10.0.{i}.{n}", 80, where) for n in range(2)),
            draining=(Endpoint(f"10.0.{i}.9", 80, where, draining=True),),
            part=Part(i, 500, where=where, near=Near()),
        )
        for i, where in enumerate((a, b))
    ]
    verdicts = {one.name: grouped(one, [0, 1], [30, 10]) for one in parts}
    one = {p.name: replace(p.part, priority=0, weight=None, together=True) for p in parts if p.part}
    found = Assignments().resources(parts, verdicts, {WEB: {a: one}})
    whole, drain = read(found.by_place[a]["web"]).endpoints
    assert (whole.priority, drain.priority) == (0, 0)
    assert shape(found.by_place[a]["web"])[0] == (
        "weir.dev/together",
        1,
        [(f"10.0.{i}.{n}", None) for i in range(2) for n in range(2)],
    )
    assert {each.health_status for each in drain.lb_endpoints} == {HealthStatus.DRAINING}
    assert len(read(found.common["web"]).endpoints) == 6
