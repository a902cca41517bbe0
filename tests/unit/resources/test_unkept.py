"""Policies that keep strangers out, refused when they are written for the first time."""

from __future__ import annotations

import pytest

from controlplane.resources import Loaded, ObjectKey
from controlplane.resources.target import Target
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE, joined, read

RULES = "  authorization: {rules: []}\n"
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: web}
spec:
  targetRefs:
    - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}
"""
WEB = Target("HTTPRoute", "default/web")
BROKEN = f"{POLICY}  authorisation: {{}}\n"


def loaded(text: str, before: Loaded | None = None) -> Loaded:
    return read({"a.yaml": joined(GATEWAY, ROUTE, BACKEND), "p.yaml": text}, before)


def targets(text: str, before: Loaded | None = None) -> set[Target]:
    found = loaded(text, before).declared.unkept.values()
    return {target for one in found for target in one.targets}


@pytest.mark.parametrize(
    "text",
    [
        BROKEN,
        BROKEN.replace("authorisation", "'"),
        BROKEN.replace("authorisation", "@a"),
        f"{POLICY}  jwt: {{providers: [\n",
        f"{POLICY}  jwt: &a [*a]\n",
        f"{POLICY}  jwt: 1\n  jwt: 2\n",
        f"{POLICY}  jwt: {'[' * 100}\n",
        f"{POLICY}{RULES}".replace("weir.dev/v1alpha1", "gateway.envoyproxy.io/v1alpha1"),
        f"{POLICY}{RULES}".replace("SecurityPolicy", "SecurtyPolicy"),
        f"{POLICY}{RULES}".replace("gateway.networking.k8s.io", "weir.dev"),
        f"{POLICY}{RULES}".replace("metadata: {name: web}", "metadata: {namespace: default}"),
        f"{POLICY}{RULES}".replace("metadata: {name: web}", ""),
        f"{POLICY}{RULES}".replace("targetRefs:\n    -", "targetRef:\n     "),
    ],
)
def test_what_it_is_for_is_refused_as_far_as_that_can_be_read(text: str) -> None:
    assert targets(text) == {WEB}
    (told,) = [one for one in loaded(text).problems if "was never valid" in one.message]
    assert "requests for HTTPRoute default/web are refused until it is" in told.message
    assert told.file == "p.yaml"


def test_a_part_of_an_object_is_all_of_it_where_it_cannot_be_read() -> None:
    part = BROKEN.replace("name: web}\n  a", "name: web, sectionName: a}\n  a")
    assert targets(part) == {Target("HTTPRoute", "default/web", "a")}
    assert targets(part.replace("sectionName: a", "sectionName: [a]")) == {WEB}


def test_of_what_cannot_be_read_at_all_nothing_is_refused_and_it_is_told() -> None:
    text = BROKEN.replace("kind: HTTPRoute, ", "")
    assert targets(text) == set()
    assert any("nothing is refused for it" in one.message for one in loaded(text).problems)


def test_the_last_valid_version_stays_in_force_and_nothing_is_refused() -> None:
    good = loaded(POLICY + RULES)
    for text in (BROKEN, f"{POLICY}  jwt: {{", f"{POLICY}  jwt: {{".replace("name: web}", "}")):
        bad = loaded(text, good)
        assert ObjectKey("SecurityPolicy", "default/web") in bad.declared.sources
        assert targets(text, good) <= {WEB}
    assert loaded(BROKEN, good).declared.unkept == {}


def test_it_stays_refused_until_it_is_valid_or_gone() -> None:
    bad = loaded(BROKEN)
    unread = read({"a.yaml": joined(GATEWAY, ROUTE, BACKEND), "p.yaml": OSError(5, "no")}, bad)
    assert list(unread.declared.unkept) == [ObjectKey("SecurityPolicy", "default/web")]
    assert targets(POLICY + RULES, unread) == set()
    assert read({"a.yaml": joined(GATEWAY, ROUTE, BACKEND)}, unread).declared.unkept == {}


@pytest.mark.parametrize(
    ("kind", "spec", "target"),
    [
        ("ClientPolicy", "clientAddresses: {allow: [x]}", "Gateway"),
        ("ClientPolicy", "tls: {clientValidation: {}}", "Gateway"),
        ("ClientPolicy", "tls: {ciphers: [x]}", None),
        ("ClientPolicy", "clientAddresses: {allow: [x]}", None),
        ("TrafficPolicy", "lua: [{}]", "HTTPRoute"),
        ("TrafficPolicy", "extProc: [{}]", "Gateway"),
        ("TrafficPolicy", "wasm: [{}]", "GRPCRoute"),
        ("TrafficPolicy", "retry: x", None),
        ("BackendTLSPolicy", "validation: {}", "Backend"),
        ("BalancingPolicy", "policy: x", None),
    ],
)
def test_other_kinds_where_they_say_who_may_come_or_what_is_shown(
    kind: str, spec: str, target: str | None
) -> None:
    text = POLICY.replace("SecurityPolicy", kind).replace("HTTPRoute", target or "HTTPRoute")
    want = {Target(target, "default/web")} if target else set()
    assert targets(f"{text}  {spec}\n") == want
