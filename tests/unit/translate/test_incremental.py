"""What is kept from one change to the next never shows: each outcome is that of a fresh start."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from controlplane.discovery.sets import endpoints_of
from controlplane.model import Endpoint, Service, ServiceName, Verdict
from controlplane.resources import Declared, Loaded, Services, load
from controlplane.resources.backend import Backend
from controlplane.translate import Translator
from controlplane.translate.types import ENDPOINT
from tests.certificates import Authority
from tests.envoy.edge import backend, gateway, policy, route, to
from tests.unit.resources.test_service_backends import BALANCING, NODE, SERVICE, at, slice_of
from tests.unit.resources.test_service_backends import ROUTE as TO_SERVICE
from tests.unit.translate.scenes import all_services, grouped

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


CLASS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: %s}
"""
ENCRYPTED = """\
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: a}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: a}]
  validation: {hostname: a.test, caCertificateRefs: [{kind: ConfigMap, name: cas}]}
"""
CAS = [f"ca.crt: {json.dumps(Authority().pem.decode())}" for _ in range(2)]


def of_tls(chance: random.Random, name: str) -> str:
    """Classes, and what is said of clients and of TLS to Backends."""
    if name == "class":
        return CLASS % chance.choice(["weir.dev/gateway-controller", "example.com/theirs"])
    if name == "encrypted":
        return ENCRYPTED
    if name == "clients":
        idle = f"  timeout: {{http: {{idleTimeout: {chance.randint(1, 2)}s}}}}\n"
        return policy("ClientPolicy", name, "Gateway/edge/http", idle)
    held = chance.choice(CAS)
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: cas}}\ndata: {{{held}}}\n"


LOCALITY = """\
  locality: {failover: [{places: [{region: eu, zone: a}]}, {places: [{region: eu}]}]}
"""


def of_services(chance: random.Random, name: str) -> str:
    """Services, their slices and Nodes, and what is said of them."""
    if name == "service":
        return chance.choice([SERVICE, SERVICE.replace("port: 80,", "port: 90,")])
    if name == "to-service":
        return chance.choice([TO_SERVICE, TO_SERVICE.replace("port: 80", "port: 81")])
    if name == "balancing":
        return BALANCING.replace("policy: capacity", f"policy: {chance.choice(['equal', 'model'])}")
    if name == "node":
        return chance.choice([NODE, NODE.replace('"2"', '"3"')])
    here = [
        at(f"10.0.0.{number}", **chance.choice(STATES)).replace("zone: a", f"zone: {zone}")
        for number, zone in enumerate("aabc", 1)
        if chance.random() < 0.7
    ]
    return slice_of(name, *here)


STATES: list[dict[str, bool]] = [
    {"ready": True},
    {"ready": True},
    {"ready": False, "serving": True, "terminating": True},
    {"ready": False},
]


def a_document(chance: random.Random, name: str) -> str:
    if name in TLS_NAMES:
        return of_tls(chance, name)
    if name in SERVICE_NAMES:
        return of_services(chance, name)
    if name == "places":
        return policy(
            "BalancingPolicy", name, chance.choice(["Backend/a", "Gateway/edge"]), LOCALITY
        )
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


TLS_NAMES = ("class", "encrypted", "clients", "cas")
SERVICE_NAMES = ("service", "to-service", "balancing", "node", "slice-1", "slice-2")
OTHERS = ("edge", "r1", "r2", "r3", "a", "b", "other-a", "p1", "p2", "grant", "places")
NAMES = (*OTHERS, *TLS_NAMES, *SERVICE_NAMES, "slice-1", "slice-2")
"""Slices change more often than all else."""


class Running:
    """What goes on beside documents, kept from one change to the next as `weir serve` keeps it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.services = Services()
        self.sets: dict[str, tuple[Backend, tuple[Endpoint, ...]]] = {}
        self.verdicts: dict[ServiceName, Verdict] = {}

    def balanced(self, declared: Declared) -> tuple[Service, ...]:
        """The services, with endpoints that are the very same while their Backend is."""
        held, self.sets = self.sets, {}
        for key, one in declared.backends.items():
            before = held.get(key)
            if before is None or before[0] is not one:
                before = (one, endpoints_of(one, lambda name: ()))
            self.sets[key] = before
        found = {ServiceName(key): made for key, (_, made) in self.sets.items()}
        return self.services.of(declared, found)

    def judge(self, services: tuple[Service, ...]) -> None:
        """A verdict on each: as before, the same once more, or with other weights."""
        before, self.verdicts = self.verdicts, {}
        for one in services:
            verdict, chosen = before.get(one.name), self.chance.random()
            if not one.endpoints:
                continue
            if verdict is None or verdict.service is not one or chosen < 0.2:
                groups = [self.chance.randrange(2) for _ in one.endpoints[1:]]
                count = max(groups, default=0) + 1
                weights = [self.chance.randint(1, 9) for _ in range(count)]
                verdict = grouped(one, [0, *groups], weights)
            elif chosen < 0.4:
                verdict = replace(verdict, changed=False)
            self.verdicts[one.name] = verdict


@pytest.mark.parametrize("seed", range(8))
def test_changes_one_after_another_come_to_the_same_as_all_at_once(seed: int) -> None:
    chance, loaded, translator = random.Random(seed), Loaded(), Translator()
    running = Running(chance)
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
        services = running.balanced(loaded.declared)
        assert services == all_services(fresh.declared)
        running.judge(services)
        ours = translator.snapshots(loaded.declared, services, running.verdicts)
        theirs = Translator().snapshots(fresh.declared, services, running.verdicts)
        told = {one.fleet: one.resources for one in ours if one.fleet not in loaded.declared.ended}
        assert told == {one.fleet: one.resources for one in theirs}


def test_one_change_of_an_endpoint_makes_its_assignment_alone_again() -> None:
    texts = {"edge": gateway(HTTP), "r": TO_SERVICE, "s": SERVICE, "a": backend("a", 1)}
    files: dict[str, bytes | OSError] = {name: text.encode() for name, text in texts.items()}
    files["e"] = slice_of("one", at("10.0.0.1")).encode()
    translator, running, sent = Translator(), Running(random.Random(1)), []
    loaded = Loaded()
    for address in ("10.0.0.1", "10.0.0.2"):
        loaded = load(loaded, {**files, "e": slice_of("one", at(address)).encode()})
        services = running.balanced(loaded.declared)
        running.judge(services)
        sent.append(translator.snapshots(loaded.declared, services, running.verdicts)[0].resources)
    before, after = sent
    for type_url, named in after.items():
        assert type_url == ENDPOINT or named is before[type_url]
    changed = [n for n, wire in after[ENDPOINT].items() if wire is not before[ENDPOINT][n]]
    assert changed == ["default/carts:80", "carts:80"]


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
