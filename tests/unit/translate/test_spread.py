from __future__ import annotations

from controlplane.resources import Loaded
from controlplane.resources.classes import TrafficClass
from controlplane.resources.declared import Declared
from controlplane.resources.gateway import Gateway
from controlplane.translate.classes import Kind, kinds
from controlplane.translate.clusters import UNRESOLVED
from controlplane.translate.options import TranslateOptions
from controlplane.translate.policies import Policies
from controlplane.translate.security import Securing
from controlplane.translate.snapshot import Translator
from controlplane.translate.spread import Scene, Spread
from controlplane.translate.types import CLUSTER
from tests.envoy.edge import backend, gateway, route
from tests.unit.resources.documents import read
from tests.unit.translate.scenes import all_services, declared, even

(NONE,) = kinds(None)
LIMITED = {"name": "bronze", "circuitBreaker": {"maxConnections": 1}}
BRONZE = Kind("default/plans/bronze", TrafficClass.model_validate(LIMITED))


def spare(name: str) -> str:
    return backend(name, 80).replace("spec: {", "spec: {fallback: true, ")


def spread(refs: str, unknown: str = "") -> Spread:
    """Of the one rule of a route with these backendRefs; `unknown` has no endpoints yet."""
    found: Declared = declared(
        gateway("name: http, port: 80, protocol: HTTP"),
        backend("a", 80),
        backend("b", 80),
        spare("s"),
        spare("t"),
        route("r", f"[{{backendRefs: {refs}}}]"),
    )
    known = set(found.backends) - {f"default/{unknown}"}
    edge: Gateway = found.gateways["default/edge"]
    scene = Scene(found, edge, Policies.of(found, known, Securing(TranslateOptions())), known)
    (rule,) = (web := found.routes["default/r"]).spec.rules
    return Spread.of(scene, web, rule)


def clusters(made: Spread, kind: Kind = NONE) -> list[tuple[str | None, int]]:
    """The cluster and weight of each reference that shares the requests."""
    resolve = made.resolve(kind)
    return [(resolve(ref), ref.weight) for ref in made.rule.backend_refs]


def test_without_a_fallback_each_reference_is_its_backend() -> None:
    made = spread("[{name: a, weight: 3}, {name: b}]")
    assert clusters(made) == [("default/a", 3), ("default/b", 1)]
    assert not made.fails_over
    assert list(made.chains(NONE)) == []


def test_a_fallback_stands_behind_each_of_the_others() -> None:
    made = spread("[{name: s, weight: 9}, {name: a, weight: 3}, {name: b}, {name: t}]")
    assert clusters(made) == [
        ("default/a+default/s+default/t", 3),
        ("default/b+default/s+default/t", 1),
    ]
    assert made.fails_over
    assert sorted(made.chains(NONE)) == [
        ("default/a", "default/s", "default/t"),
        ("default/b", "default/s", "default/t"),
    ]


def test_fallbacks_alone_are_backends_as_any_other_and_one_of_weight_0_is_none() -> None:
    assert clusters(spread("[{name: s}, {name: t}]")) == [("default/s", 1), ("default/t", 1)]
    assert clusters(spread("[{name: a}, {name: s, weight: 0}]"))[0] == ("default/a", 1)


def test_a_backend_whose_endpoints_are_not_known_leaves_its_part_to_the_fallback() -> None:
    assert clusters(spread("[{name: a}, {name: s}]", unknown="a")) == [("default/s", 1)]
    assert clusters(spread("[{name: a}, {name: s}]", unknown="s")) == [("default/a", 1)]
    assert clusters(spread("[{name: a}, {name: b}]", unknown="a"))[0] == (UNRESOLVED, 1)
    assert clusters(spread("[{name: gone}, {name: s}]")) == [(None, 1)]


def test_a_class_with_limits_has_clusters_of_its_own_all_along_the_chain() -> None:
    made = spread("[{name: a}, {name: s}]")
    members = ("default/a#default/plans/bronze", "default/s#default/plans/bronze")
    assert clusters(made, BRONZE) == [("+".join(members), 1)]
    assert list(made.chains(BRONZE)) == [members]


def test_a_backend_that_becomes_a_fallback_changes_routes_that_did_not() -> None:
    made = Translator()
    routed = route("r", "[{backendRefs: [{name: a}, {name: b}]}]")
    http = gateway("name: http, port: 80, protocol: HTTP")

    def clusters_of(b: str, before: Loaded | None) -> tuple[set[str], Loaded]:
        loaded = read({"all.yaml": "---\n".join((http, backend("a", 80), b, routed))}, before)
        found = all_services(loaded.declared)
        (edge, _) = made.snapshots(loaded.declared, found, even(found))
        return set(edge.resources[CLUSTER]), loaded

    plain, first = clusters_of(backend("b", 80), None)
    assert plain == {"default/a", "default/b"}
    standing_in, second = clusters_of(spare("b"), first)
    assert standing_in == plain | {"default/a+default/b"}
    assert clusters_of(backend("b", 80), second)[0] == plain
