"""Conditions in the words of the Gateway API, for each way in which an object may fail."""

from __future__ import annotations

import pytest

from controlplane.resources.conditions import Condition, Programming, conditions
from controlplane.resources.declared import ObjectKey
from tests.certificates import Authority
from tests.envoy.edge import backend, gateway, policy, route, secret, to
from tests.unit.resources.documents import read

HTTP = "name: http, port: 80, protocol: HTTP"


def found(*documents: str, kind: str, name: str, far: Programming | None = None) -> list[Condition]:
    declared = read({"all.yaml": "---\n".join(documents)}).declared
    programming = {"default/edge": far or Programming(2, 2)}
    return list(conditions(declared, programming)[ObjectKey(kind, name)])


def said(every: list[Condition], kind: str) -> list[tuple[bool | None, str]]:
    return [(one.status, one.reason) for one in every if one.type == kind]


GOOD = f"[{{{to('a')}}}]"


@pytest.mark.parametrize(
    ("made", "accepted", "resolved"),
    [
        (route("web", GOOD), (True, "Accepted"), (True, "ResolvedRefs")),
        (
            route("web", f"[{{{to('gone')}}}]"),
            (True, "Accepted"),
            (False, "BackendNotFound"),
        ),
        (
            route("web", "[{backendRefs: [{name: a, group: a.example, kind: Lambda}]}]"),
            (True, "Accepted"),
            (False, "InvalidKind"),
        ),
        (
            route("web", "[{backendRefs: [{name: a, namespace: other}]}]"),
            (True, "Accepted"),
            (False, "RefNotPermitted"),
        ),
        (
            route("web", GOOD, parents="[{name: nobody}]"),
            (False, "NoMatchingParent"),
            (True, "ResolvedRefs"),
        ),
        (
            route("web", GOOD, parents="[{name: edge, sectionName: nothing}]"),
            (False, "NoMatchingParent"),
            (True, "ResolvedRefs"),
        ),
        (
            route("web", GOOD, parents="[{name: edge, port: 81}]"),
            (False, "NoMatchingParent"),
            (True, "ResolvedRefs"),
        ),
        (
            route("web", GOOD, parents="[{name: edge, sectionName: one}]", hosts="[b.test]"),
            (False, "NoMatchingListenerHostname"),
            (True, "ResolvedRefs"),
        ),
    ],
)
def test_a_route_is_accepted_and_resolved_or_says_why_not(
    made: str, accepted: tuple[bool, str], resolved: tuple[bool, str]
) -> None:
    listener = "name: one, port: 8080, protocol: HTTP, hostname: a.test"
    every = found(
        gateway(HTTP, listener), backend("a", 1), made, kind="HTTPRoute", name="default/web"
    )
    assert said(every, "Accepted") == [accepted]
    assert said(every, "ResolvedRefs") == [resolved]
    assert len(said(every, "Programmed")) == accepted[0]


def test_a_route_of_another_namespace_is_not_let_in() -> None:
    made = route("web", GOOD, parents="[{name: edge, namespace: default}]").replace(
        "{name: web}", "{name: web, namespace: other}"
    )
    every = found(gateway(HTTP), made, kind="HTTPRoute", name="other/web")
    assert said(every, "Accepted") == [(False, "NotAllowedByListeners")]


@pytest.mark.parametrize(
    ("far", "wanted"),
    [
        (Programming(2, 2), (True, "Programmed")),
        (Programming(2, 1), (False, "Pending")),
        (Programming(0, 0), (False, "Pending")),
        (Programming(2, 1, refusal="envoy-1 refuses lds: no"), (False, "Invalid")),
        (Programming(2, 2, waits="a change goes out in stages"), (None, "Pending")),
    ],
)
def test_programmed_says_how_far_the_envoys_are(
    far: Programming, wanted: tuple[bool | None, str]
) -> None:
    every = found(gateway(HTTP), kind="Gateway", name="default/edge", far=far)
    assert said(every, "Programmed") == [wanted, wanted]  # of the Gateway, and of its listener


def test_a_listener_without_a_certificate_is_not_programmed() -> None:
    tls = "protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}"
    documents = [gateway(f"name: tls, port: 443, {tls}")]
    every = found(*documents, kind="Gateway", name="default/edge")
    assert said(every, "Accepted")[0] == (True, "ListenersNotValid")
    assert said(every, "ResolvedRefs") == [(False, "InvalidCertificateRef")]
    assert said(every, "Programmed") == [(True, "Programmed"), (False, "Invalid")]
    pair = Authority().issue(dns=["a.test"])
    documents.append(secret("cert", {"tls.crt": pair.certificate, "tls.key": pair.key}))
    every = found(*documents, kind="Gateway", name="default/edge")
    assert {one.status for one in every} == {True}


def test_a_policy_is_accepted_for_each_of_its_targets() -> None:
    limit = "  circuitBreaker: {maxConnections: 1}\n"
    documents = (
        gateway(HTTP),
        policy("TrafficPolicy", "first", "Gateway/edge", limit),
        policy("TrafficPolicy", "second", "Gateway/edge", limit),
        policy("TrafficPolicy", "third", "HTTPRoute/gone", limit),
    )
    names = ("first", "second", "third")
    every = [found(*documents, kind="TrafficPolicy", name=f"default/{name}") for name in names]
    assert [said(one, "Accepted") for one in every] == [
        [(True, "Accepted")],
        [(False, "Conflicted")],
        [(False, "TargetNotFound")],
    ]
    assert every[0][0].part == "Gateway default/edge"


def test_a_policy_that_was_never_valid_or_refers_to_nothing_is_told_with_what_follows() -> None:
    broken = policy("SecurityPolicy", "web", "HTTPRoute/web", "  jwt: {}\n")
    (one,) = found(route("web", GOOD), broken, kind="SecurityPolicy", name="default/web")
    assert (one.type, one.status, one.part) == ("Accepted", False, "HTTPRoute default/web")
    assert "refused until it is" in one.message
    users = policy(
        "SecurityPolicy", "web", "HTTPRoute/web", "  basicAuth: {users: {name: nobody}}\n"
    )
    every = found(route("web", GOOD), users, kind="SecurityPolicy", name="default/web")
    assert said(every, "Accepted") == [(True, "Accepted")]
    assert said(every, "ResolvedRefs") == [(False, "SecretNotFound")]
    assert "answered 500" in every[-1].message
