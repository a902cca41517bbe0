from __future__ import annotations

from controlplane.model import Actuation, Endpoint, GuardSettings, Rollout, ServiceName
from controlplane.model.objective import Objective
from controlplane.resources import services
from controlplane.resources.balancing import Goals, Guard
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

WEB = ServiceName("default/web")
ENDPOINTS = (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 8080))


def test_a_backend_without_a_policy_gets_equal_weights() -> None:
    (service,) = services(read({"b.yaml": BACKEND}).declared, {WEB: ENDPOINTS})
    assert (service.policy, service.fallback, service.guard) == ("equal", "model", GuardSettings())


def test_a_service_is_an_overlay_when_no_gateway_of_ours_routes_to_it() -> None:
    alone = read({"a.yaml": joined(BACKEND, ROUTE)}).declared
    routed = read({"a.yaml": joined(BACKEND, ROUTE, GATEWAY)}).declared
    assert [one.overlay for one in services(alone, {WEB: ENDPOINTS})] == [True]
    assert [one.overlay for one in services(routed, {WEB: ENDPOINTS})] == [False]


def test_a_backend_that_envoys_call_for_a_policy_is_ours_to_set_up() -> None:
    text = (
        "apiVersion: weir.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: a}\nspec:\n"
        "  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n"
        "  extProc: [{backendRefs: [{name: web}]}]\n"
    )
    declared = read({"a.yaml": joined(GATEWAY, BACKEND, text)}).declared
    assert [one.overlay for one in services(declared, {WEB: ENDPOINTS})] == [False]


def test_all_that_a_policy_says_arrives() -> None:
    text = POLICY + (
        "  interval: 1m30s\n  actuation: groups\n  fallback: capacity\n"
        "  rollout: {mode: canary, percent: 25}\n"
        "  exploration: {deviation: 0.1}\n"
        "  objective: {latencyP99: 2, errors: 9, slo: {latency: 80ms}, classValues: {gold: 10}}\n"
        "  guard: {frozen: true, maxShare: 0.4, freezeAfter: 20s, warmup: 500ms}\n"
    )
    (service,) = services(read({"a.yaml": joined(BACKEND, text)}).declared, {WEB: ENDPOINTS})
    assert service.policy == "model"
    assert service.interval_s == 90.0
    assert service.actuation is Actuation.GROUPS
    assert service.fallback == "capacity"
    assert service.rollout == Rollout("canary", 25.0)
    assert service.exploration == 0.1
    assert service.objective == Objective(
        latency_p99=2.0, errors=9.0, slo=1.0, slo_latency_s=0.08, class_values={"gold": 10.0}
    )
    assert service.guard == GuardSettings(
        frozen=True, max_share=0.4, freeze_after_s=20.0, warmup_s=0.5
    )


def test_a_backend_whose_endpoints_are_not_known_yet_is_left_out() -> None:
    declared = read({"b.yaml": BACKEND}).declared
    assert services(declared, {}) == ()
    assert [one.endpoints for one in services(declared, {WEB: ()})] == [()]


def test_the_documents_know_every_bound_of_the_guard_and_its_default() -> None:
    assert Guard().settings() == GuardSettings()
    written = {name.removesuffix("_s") for name in GuardSettings.__dataclass_fields__}
    assert set(Guard.model_fields) == written


def test_endpoints_that_drain_are_not_balanced_unless_all_do() -> None:
    found = read({"a.yaml": joined(GATEWAY, ROUTE, BACKEND)}).declared
    one, two = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80, draining=True)
    (service,) = services(found, {ServiceName("default/web"): (one, two)})
    assert (service.endpoints, service.draining) == ((one,), (two,))
    (service,) = services(found, {ServiceName("default/web"): (two,)})
    assert (service.endpoints, service.draining) == ((two,), ())


def test_the_documents_know_every_goal_and_its_default() -> None:
    assert Goals().objective() == Objective()
    assert set(Goals.model_fields) == set(Objective.__dataclass_fields__) - {"slo_latency_s"}
