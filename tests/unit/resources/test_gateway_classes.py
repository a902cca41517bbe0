from __future__ import annotations

from controlplane.resources import ObjectKey
from controlplane.resources.conditions import conditions
from controlplane.resources.gateway_class import CONTROLLER
from controlplane.translate import Translator
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read
from tests.unit.translate.scenes import all_services, even


def gateway_class(controller: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: weir}\n"
        f"spec: {{controllerName: {controller}}}\n"
    )


def test_gateways_of_another_controller_are_not_ours_and_nothing_is_said_of_their_routes() -> None:
    theirs = read({"a.yaml": joined(gateway_class("example.com/theirs"), GATEWAY, ROUTE, BACKEND)})
    assert theirs.problems == ()
    assert not theirs.declared.gateways
    services = all_services(theirs.declared)
    (overlay,) = Translator().snapshots(theirs.declared, services, even(services))
    assert overlay.fleet == "overlay"


def test_gateways_of_our_class_and_of_one_that_is_not_declared_are_served() -> None:
    for classes in ((), (gateway_class("weir.dev/gateway-controller"),)):
        found = read({"a.yaml": joined(*classes, GATEWAY, ROUTE, BACKEND)})
        assert found.problems == ()
        assert set(found.declared.gateways) == {"default/edge"}


def test_a_route_of_another_controllers_gateway_has_no_conditions() -> None:
    theirs = read({"a.yaml": joined(gateway_class("example.com/theirs"), GATEWAY, ROUTE, BACKEND)})
    assert conditions(theirs.declared, {})[ObjectKey("HTTPRoute", "default/web")] == ()
    ours = read({"a.yaml": joined(gateway_class(CONTROLLER), GATEWAY, ROUTE, BACKEND)})
    found = conditions(ours.declared, {})[ObjectKey("HTTPRoute", "default/web")]
    assert [one.type for one in found] == ["Accepted", "ResolvedRefs", "Programmed"]
