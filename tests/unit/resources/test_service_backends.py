from __future__ import annotations

from typing import Any

import pytest

from controlplane.discovery.sets import endpoints_of
from controlplane.model import Zone
from controlplane.resources import Loaded, load
from controlplane.resources.backend import Backend
from controlplane.resources.load import Files
from controlplane.resources.references import policy_of
from tests.unit.resources.documents import GATEWAY, POLICIES, joined

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{kind: Service, group: '', name: carts, port: 80}]}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: carts}
spec:
  clusterIP: 10.96.0.1
  type: ClusterIP
  ports:
    - {name: http, port: 80, targetPort: web, protocol: TCP}
    - {name: admin, port: 81, protocol: TCP, appProtocol: kubernetes.io/h2c}
status: {loadBalancer: {}}
"""
NODE = """\
apiVersion: v1
kind: Node
metadata:
  name: big
  labels:
    weir.dev/capacity: "2"
    node.kubernetes.io/instance-type: m7.large
    topology.kubernetes.io/region: eu
spec: {podCIDR: 10.244.0.0/24}
"""
BALANCING = """\
apiVersion: weir.dev/v1alpha1
kind: BalancingPolicy
metadata: {name: carts}
spec: {targetRefs: [{group: '', kind: Service, name: carts}], policy: capacity}
"""


def slice_of(name: str, *endpoints: str, family: str = "IPv4", port: int = 8080) -> str:
    listed = "".join(f"  - {one}\n" for one in endpoints)
    return f"""\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: carts}}}}
addressType: {family}
endpoints:
{listed}ports:
  - {{name: http, port: {port}, protocol: TCP}}
  - {{name: admin, port: 9090, protocol: TCP}}
"""


def at(address: str, **conditions: bool) -> str:
    said = ", ".join(f"{name}: {str(one).lower()}" for name, one in conditions.items())
    return f"{{addresses: ['{address}'], conditions: {{{said}}}, nodeName: big, zone: a}}"


def files(*documents: str) -> Files:
    return {f"{number}.yaml": one.encode() for number, one in enumerate(documents)}


def loaded(*documents: str, before: Loaded | None = None) -> Loaded:
    return load(before or Loaded(), files(*documents), POLICIES)


def backend_of(found: Loaded, key: str = "default/carts:80") -> Backend:
    return found.declared.backends[key]


def addresses(backend: Backend) -> list[tuple[str, bool]]:
    return [(one.id, one.draining) for one in endpoints_of(backend, lambda _: ())]


def test_a_service_that_a_route_leads_to_is_a_backend_with_the_endpoints_of_its_slices() -> None:
    found = loaded(
        GATEWAY,
        ROUTE,
        SERVICE,
        NODE,
        slice_of("one", at("10.0.0.2", ready=True), at("10.0.0.1", ready=True)),
        slice_of("two", at("10.0.0.3", ready=True)),
    )
    assert not found.problems
    endpoints = endpoints_of(backend_of(found), lambda _: ())
    assert [one.id for one in endpoints] == ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]
    assert {one.where for one in endpoints} == {Zone("eu", "a")}
    assert {one.capacity for one in endpoints} == {2.0}
    assert {one.labels["weir.dev/class"] for one in endpoints} == {"m7.large"}
    assert list(found.declared.backends) == ["default/carts:80"]  # nothing refers to port 81


@pytest.mark.parametrize(
    ("conditions", "taken"),
    [
        ({}, [("10.0.0.9:8080", False)]),
        ({"ready": True}, [("10.0.0.9:8080", False)]),
        ({"ready": False}, []),
        ({"ready": False, "serving": True, "terminating": True}, [("10.0.0.9:8080", True)]),
        ({"ready": False, "serving": False, "terminating": True}, []),
        ({"ready": True, "serving": True, "terminating": True}, [("10.0.0.9:8080", False)]),
    ],
)
def test_ready_serving_and_terminating_mean_what_kubernetes_means(
    conditions: dict[str, bool], taken: list[tuple[str, bool]]
) -> None:
    """https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions"""
    found = loaded(GATEWAY, ROUTE, SERVICE, slice_of("one", at("10.0.0.9", **conditions)))
    assert addresses(backend_of(found)) == taken


def test_an_endpoint_on_its_way_between_slices_counts_once() -> None:
    found = loaded(
        GATEWAY,
        ROUTE,
        SERVICE,
        slice_of("one", at("10.0.0.1", ready=False, serving=True, terminating=True)),
        slice_of("two", at("10.0.0.1", ready=True)),
    )
    assert addresses(backend_of(found)) == [("10.0.0.1:8080", False)]


def test_of_two_families_the_first_of_the_service_is_used() -> None:
    both = [
        slice_of("four", at("10.0.0.1", ready=True)),
        slice_of("six", at("2001:db8::1", ready=True), family="IPv6"),
    ]
    assert addresses(backend_of(loaded(GATEWAY, ROUTE, SERVICE, *both))) == [
        ("10.0.0.1:8080", False)
    ]
    sixth = SERVICE.replace("spec:", "spec:\n  ipFamilies: [IPv6, IPv4]")
    assert addresses(backend_of(loaded(GATEWAY, ROUTE, sixth, *both))) == [
        ("[2001:db8::1]:8080", False)
    ]


def test_an_address_that_nobody_may_be_sent_to_is_left_out() -> None:
    metadata = slice_of("one", at("169.254.169.254", ready=True), at("10.0.0.1", ready=True))
    found = loaded(GATEWAY, ROUTE, SERVICE, metadata)
    assert addresses(backend_of(found)) == [("10.0.0.1:8080", False)]


def test_what_did_not_change_is_the_same_object() -> None:
    """So that all that comes after costs what changed."""
    other = [
        one.replace("carts", "users").replace("name: web", "name: users")
        for one in (ROUTE, SERVICE, slice_of("three", at("10.0.1.1", ready=True)))
    ]
    documents = [GATEWAY, ROUTE, SERVICE, slice_of("one", at("10.0.0.1", ready=True)), *other]
    first = loaded(*documents)
    documents[3] = slice_of("one", at("10.0.0.1", ready=True), at("10.0.0.2", ready=True))
    second = loaded(*documents, before=first)
    assert addresses(backend_of(second)) == [("10.0.0.1:8080", False), ("10.0.0.2:8080", False)]
    users = "default/users:80"
    assert backend_of(second, users) is backend_of(first, users)
    assert second.declared.hangs_together_as(first.declared)
    assert second.declared.differs_in_routes_alone(first.declared)


def test_hints_for_zones_change_nothing() -> None:
    """Which zone serves which is decided here, by load: see docs/kubernetes.md."""
    plain = at("10.0.0.1", ready=True)
    hinted = plain.replace("zone: a", "zone: a, hints: {forZones: [{name: b}]}")
    before = loaded(GATEWAY, ROUTE, SERVICE, NODE, slice_of("one", plain))
    after = loaded(GATEWAY, ROUTE, SERVICE, NODE, slice_of("one", hinted), before=before)
    assert not after.problems
    assert backend_of(after, "default/carts:80") is backend_of(before, "default/carts:80")


def problem_of(*documents: str) -> str:
    (problem,) = loaded(*documents).problems
    return str(problem)


def test_a_reference_that_leads_nowhere_says_why() -> None:
    assert "there is no Service default/carts" in problem_of(GATEWAY, ROUTE)
    wrong = ROUTE.replace("port: 80", "port: 82")
    assert "has no port 82" in (said := problem_of(GATEWAY, wrong, SERVICE))
    assert "its ports: 80, 81" in said
    assert "give the port" in problem_of(GATEWAY, ROUTE.replace(", port: 80", ""), SERVICE)


def test_a_service_of_another_namespace_needs_a_grant() -> None:
    there = ROUTE.replace("name: carts", "name: carts, namespace: shop")
    service = SERVICE.replace("name: carts", "name: carts, namespace: shop")
    endpoints = slice_of("one", at("10.0.0.1", ready=True)).replace(
        "name: one", "name: one, namespace: shop"
    )
    grant = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: ours, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: '', kind: Service}]
"""
    assert "no ReferenceGrant" in problem_of(GATEWAY, there, service, endpoints)
    found = loaded(GATEWAY, there, service, endpoints, grant)
    assert not found.problems
    assert addresses(backend_of(found, "shop/carts:80")) == [("10.0.0.1:8080", False)]


def test_a_policy_for_a_service_is_for_each_of_its_ports() -> None:
    found = loaded(GATEWAY, ROUTE, SERVICE, BALANCING)
    assert not found.problems
    assert {key: one.key for key, one in policy_of(found.declared).items()} == {
        "default/carts:80": "default/carts",
        "default/carts:81": "default/carts",
    }
    assert found.declared.backends["default/carts:81"].spec.h2c


def test_a_policy_for_a_service_that_is_not_there_says_so() -> None:
    assert "there is no Service default/carts" in problem_of(BALANCING)
    wrong: Any = BALANCING.replace("group: ''", "group: weir.dev")
    assert "the group of kind Service is ''" in str(loaded(wrong).problems[0])


def test_a_port_that_is_gone_goes() -> None:
    first = loaded(joined(GATEWAY, ROUTE), SERVICE, slice_of("one", at("10.0.0.1", ready=True)))
    assert first.declared.backends
    second = loaded(joined(GATEWAY, ROUTE), SERVICE.replace("port: 80,", "port: 90,"), before=first)
    assert not second.declared.backends
