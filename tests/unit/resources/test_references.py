from __future__ import annotations

import pytest

from controlplane.resources.references import policy_of
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE, joined, read

ALL = joined(GATEWAY, ROUTE, BACKEND, POLICY)


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("kind: Backend, name: web}\n---", "kind: Backend, name: wbe}\n---",
         "spec.rules[0].backendRefs[0]", "there is no Backend default/wbe; its part"),
        ("kind: Backend, name: web}\n---", "kind: Backend, name: web, namespace: x}\n---",
         "spec.rules[0].backendRefs[0]", "another namespace"),
        ("group: weir.dev, kind: Backend, name: web}\n---",
         "group: a.example, kind: Lambda, name: web}\n---",
         "spec.rules[0].backendRefs[0]", "a.example/Lambda is not served"),
        ("- backendRefs:\n        - {group: weir.dev, kind: Backend, name: web}\n", "- {}\n",
         "spec.rules[0]", "answered 500"),
        ("    - name: edge\n", "    - name: egde\n", "spec.parentRefs[0]",
         "there is no Gateway default/egde"),
        ("    - name: edge\n", "    - {name: edge, sectionName: htp}\n", "spec.parentRefs[0]",
         'no listener "htp"'),
        ("    - name: edge\n", "    - {name: edge, port: 81}\n", "spec.parentRefs[0]",
         "no listener of Gateway default/edge has this port"),
        ("  targetRefs:\n    - {group: weir.dev, kind: Backend, name: web}",
         "  targetRefs:\n    - {group: weir.dev, kind: Backend, name: wbe}",
         "spec.targetRefs[0]", "there is no Backend default/wbe"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_reported_where_it_stands(
    old: str, new: str, field: str, message: str
) -> None:
    assert old in ALL
    text = ALL.replace(old, new)
    (problem,) = read({"all.yaml": text}).problems
    assert (problem.field, message in problem.message) == (field, True), str(problem)
    wanted = [one for one in new.splitlines() if one != "---"][-1]
    assert text.splitlines()[problem.line - 1].endswith(wanted)


def test_references_that_are_near_are_named() -> None:
    (problem,) = read(
        {"a.yaml": ALL.replace("name: edge\n  rules", "name: edgy\n  rules")}
    ).problems
    assert problem.advice == 'did you mean "edge"?'


def test_a_route_of_another_namespace_needs_to_be_let_in() -> None:
    route = ROUTE.replace("{name: web}", "{name: web, namespace: shop}", 1).replace(
        "- name: edge", "- {name: edge, namespace: default}"
    )
    backend = BACKEND.replace("{name: web}", "{name: web, namespace: shop}")
    (problem,) = read({"a.yaml": joined(GATEWAY, route, backend)}).problems
    assert "lets in no routes of namespace shop" in problem.message
    letting = GATEWAY.replace("HTTP}", "HTTP, allowedRoutes: {namespaces: {from: All}}}")
    assert read({"a.yaml": joined(letting, route, backend)}).problems == ()


def test_of_two_policies_for_one_target_the_older_then_the_first_by_name_is_in_force() -> None:
    second = POLICY.replace("{name: web}", "{name: a-web}", 1).replace("model", "equal")
    result = read({"all.yaml": joined(BACKEND, POLICY, second)})
    assert policy_of(result.declared)["default/web"].metadata.name == "a-web"
    (problem,) = result.problems
    assert (problem.object, "default/a-web already" in problem.message) == (
        "BalancingPolicy default/web",
        True,
    )
    dated = second.replace("a-web}", "a-web, creationTimestamp: 2024-01-02T00:00:00Z}")
    older = POLICY.replace("{name: web}", "{name: web, creationTimestamp: 2024-01-01T00:00:00Z}", 1)
    result = read({"all.yaml": joined(BACKEND, older, dated)})
    assert policy_of(result.declared)["default/web"].metadata.name == "web"


def test_the_nearest_policy_wins() -> None:
    def policy(name: str, kind: str, target: str) -> str:
        group = "weir.dev" if kind == "Backend" else "gateway.networking.k8s.io"
        return POLICY.replace("{name: web}", f"{{name: {name}}}", 1).replace(
            "{group: weir.dev, kind: Backend, name: web}",
            f"{{group: {group}, kind: {kind}, name: {target}}}",
        )

    gateway = policy("a", "Gateway", "edge")
    route = policy("b", "HTTPRoute", "web")
    backend = policy("c", "Backend", "web")
    other = BACKEND.replace("{name: web}", "{name: other}")
    second = ROUTE.replace("{name: web}", "{name: more}", 1).replace("name: web}", "name: other}")
    base = joined(GATEWAY, ROUTE, second, BACKEND, other)
    for policies, web in (
        ((gateway,), "a"),
        ((gateway, route), "b"),
        ((gateway, route, backend), "c"),
    ):
        result = read({"all.yaml": joined(base, *policies)})
        assert result.problems == ()
        found = {key: one.metadata.name for key, one in policy_of(result.declared).items()}
        assert found == {"default/web": web, "default/other": "a"}


def test_filters_of_a_fallback_do_nothing_and_that_is_said() -> None:
    spare = BACKEND.replace("name: web", "name: spare").replace("spec:", "spec:\n  fallback: true")
    filters = "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}]"
    ref = "        - {group: weir.dev, kind: Backend, name: web}\n"
    both = ROUTE.replace(ref, ref + f"        - {{kind: Backend, name: spare, {filters}}}\n")
    (problem,) = read({"a.yaml": joined(GATEWAY, both, BACKEND, spare)}).problems
    assert problem.field == "spec.rules[0].backendRefs[1]"
    assert "default/spare is a fallback" in problem.message
    alone = both.replace(ref, "")
    assert read({"a.yaml": joined(GATEWAY, alone, BACKEND, spare)}).problems == ()


def test_a_route_of_connections_knows_no_fallback_and_that_is_said() -> None:
    spare = BACKEND.replace("name: web", "name: spare").replace("spec:", "spec:\n  fallback: true")
    gateway = GATEWAY.replace("protocol: HTTP", "protocol: TCP")
    refs = ", ".join(f"{{group: weir.dev, kind: Backend, name: {one}}}" for one in ("web", "spare"))
    route = (
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\nmetadata: {name: db}\n"
        f"spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{refs}]}}]}}\n"
    )
    (problem,) = read({"a.yaml": joined(gateway, route, BACKEND, spare)}).problems
    assert problem.field == "spec.rules[0].backendRefs[1]"
    assert "default/spare is a fallback" in problem.message
