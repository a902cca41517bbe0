"""What is kept from one change to the next never shows: each outcome is that of a fresh start."""

from __future__ import annotations

import random

import pytest

from controlplane.resources import Loaded, load
from controlplane.translate import Translator
from tests.envoy.edge import backend, gateway, policy, route, to
from tests.unit.translate.scenes import all_services, even

HTTP = "name: http, port: 80, protocol: HTTP"
LIMIT = "  requestBuffer: {limit: %d}\n"
GRANT = """\
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: weir.dev, kind: Backend}]
"""


def a_document(chance: random.Random, name: str) -> str:
    target = chance.choice(["gone", "a", "b", "a, namespace: other"])
    if name.startswith("r"):
        path = chance.choice(["/x", "/y"])
        rules = f"[{{name: n, matches: [{{path: {{value: {path}}}}}], {to(target)}}}]"
        return route(name, rules, parents=chance.choice(["[{name: edge}]", "[{name: nobody}]"]))
    if name in ("a", "b"):
        return backend(name, chance.randint(1, 3))
    if name == "other-a":
        return backend("a", 9).replace("{name: a}", "{name: a, namespace: other}")
    if name.startswith("p"):
        where = chance.choice(["Gateway/edge", "HTTPRoute/r1", "HTTPRoute/r2/n"])
        return policy("TrafficPolicy", name, where, LIMIT % chance.randint(1, 2))
    if name == "grant":
        return GRANT
    return gateway(HTTP, *chance.choice([(), ("name: more, port: 81, protocol: HTTP",)]))


NAMES = ("edge", "r1", "r2", "r3", "a", "b", "other-a", "p1", "p2", "grant")


@pytest.mark.parametrize("seed", range(8))
def test_changes_one_after_another_come_to_the_same_as_all_at_once(seed: int) -> None:
    chance, loaded, translator = random.Random(seed), Loaded(), Translator()
    files: dict[str, bytes | OSError] = {}
    for _ in range(60):
        for name in chance.sample(NAMES, chance.choice([1, 1, 1, 2])):
            if name in files and chance.random() < 0.3:
                del files[name]
            else:
                files[name] = a_document(chance, name).encode()
        loaded, fresh = load(loaded, files), load(Loaded(), files)
        assert loaded.problems == fresh.problems
        assert loaded.declared.objects() == fresh.declared.objects()
        services = all_services(loaded.declared)
        ours = translator.snapshots(loaded.declared, services, even(services))
        theirs = Translator().snapshots(fresh.declared, services, even(services))
        assert [one.resources for one in ours] == [one.resources for one in theirs]


def test_one_change_of_a_route_makes_that_route_alone_again() -> None:
    files: dict[str, bytes | OSError] = {
        f"r{at}": route(f"r{at}", f"[{{{to('a')}}}]", hosts=f"[h{at}.test]").encode()
        for at in range(20)
    }
    files |= {"edge": gateway(HTTP).encode(), "a": backend("a", 1).encode()}
    before = load(Loaded(), files)
    files["r3"] = route("r3", f"[{{{to('a')}}}]", hosts="[other.test]").encode()
    after = load(before, files)
    assert after.declared.differs_in_routes_alone(before.declared)
    assert after.declared.hangs_together_as(before.declared)
    assert after.declared.gateways is before.declared.gateways
    changed = [
        key for key, one in after.declared.routes.items()
        if one is not before.declared.routes.get(key)
    ]  # fmt: skip
    assert changed == ["default/r3"]
    files["b"] = backend("b", 1).encode()
    assert not load(after, files).declared.hangs_together_as(after.declared)
