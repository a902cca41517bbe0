"""Virtual hosts on demand: which one answers, and what the stream says of it."""

from __future__ import annotations

import pytest

from controlplane._pb.discovery_pb2 import DeltaDiscoveryResponse
from controlplane._pb.route_pb2 import VirtualHost
from controlplane.xds.aliases import answering
from controlplane.xds.envelope import response
from controlplane.xds.kinds import VIRTUAL_HOST
from controlplane.xds.steps import Mode
from controlplane.xds.versions import ResourceSet
from tests.unit.xds.session import Session


def host(name: str, *domains: str) -> str:
    """As text; domains of under 128 letters are."""
    return VirtualHost(name=name, domains=domains).SerializeToString().decode()


HOSTS = {
    "default/edge/shop": host("default/edge/shop", "shop.example", "*.shop.example"),
    "default/edge/any": host("default/edge/any", "*", "api.*", "*.example"),
    "other/cart": host("other/cart", "cart.example"),
    "other/garbage": "\x0b",
}


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("default/edge/shop", "default/edge/shop"),
        ("default/edge/shop.example", "default/edge/shop"),
        ("default/edge/SHOP.example", "default/edge/shop"),
        ("default/edge/a.b.shop.example", "default/edge/shop"),
        ("default/edge/cart.example", "default/edge/any"),
        ("default/edge/api.test", "default/edge/any"),
        ("default/edge/nobody.test:8080", "default/edge/any"),
        ("other/cart.example", "other/cart"),
        ("other/cart.example:80", "other/cart.example:80"),
        ("other/shop.example", "other/shop.example"),
        ("nowhere/cart.example", "nowhere/cart.example"),
        ("", ""),
    ],
)
def test_the_domains_say_who_answers(asked: str, answers: str) -> None:
    bodies = {name: text.encode() for name, text in HOSTS.items()}
    assert answering(ResourceSet.empty(VIRTUAL_HOST, 0).replaced(bodies, 1), asked) == answers


def wire(session: Session) -> DeltaDiscoveryResponse:
    """What was sent last, as a client reads it."""
    return DeltaDiscoveryResponse.FromString(response(Mode.DELTA, session.sent[-1]))


def test_what_is_asked_for_stands_as_an_alias_of_what_answers() -> None:
    session = Session(Mode.DELTA, vhds=HOSTS)
    session.ask("vhds", "default/edge/shop.example", "default/edge/x.shop.example")
    (one,) = wire(session).resources
    assert one.name == "default/edge/shop"
    assert list(one.aliases) == ["default/edge/shop.example", "default/edge/x.shop.example"]
    assert one.resource.value == HOSTS["default/edge/shop"].encode()


def test_nobody_answers_with_an_empty_resource_and_is_told_when_somebody_does() -> None:
    session = Session(Mode.DELTA, vhds={"other/cart": HOSTS["other/cart"]})
    session.ask("vhds", "other/new.example")
    (one,) = wire(session).resources
    assert (one.name, list(one.aliases)) == ("other/new.example", ["other/new.example"])
    assert not one.HasField("resource")
    session.ack("vhds")
    session.set(vhds={"other/new": host("other/new", "new.example")})
    (one,) = wire(session).resources
    assert (one.name, list(one.aliases)) == ("other/new", ["other/new.example"])


def test_a_change_goes_to_who_asked_by_an_alias_and_a_removal_by_its_own_name() -> None:
    session = Session(Mode.DELTA, vhds=HOSTS)
    session.ask("vhds", "other/cart.example")
    session.ack("vhds")
    assert session.set(vhds={**HOSTS, "default/edge/any": host("default/edge/any", "*")}) == []
    session.set(vhds={**HOSTS, "other/cart": host("other/cart", "cart.example", "more.example")})
    assert [one.name for one in wire(session).resources] == ["other/cart"]
    session.ack("vhds")
    session.set(vhds={"default/edge/shop": HOSTS["default/edge/shop"]})
    assert list(wire(session).removed_resources) == ["other/cart"]


def test_a_second_alias_brings_it_again_and_one_that_is_dropped_ends_it() -> None:
    session = Session(Mode.DELTA, vhds=HOSTS)
    session.ask("vhds", "default/edge/shop.example")
    session.ack("vhds")
    session.ask("vhds", "default/edge/y.shop.example")
    (one,) = wire(session).resources
    assert "default/edge/y.shop.example" in one.aliases
    session.ack("vhds", drop=["default/edge/shop.example", "default/edge/y.shop.example"])
    changed = {"default/edge/shop": host("default/edge/shop", "shop.example")}
    assert session.set(vhds={**HOSTS, **changed}) == []
