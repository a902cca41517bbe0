"""Policies that do nothing, or nothing any more."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.findings import Finding, Scene, Severity
from controlplane.explain.policies import POLICIES, target_kinds
from controlplane.resources.attachment import (
    of_backends,
    of_listener,
    of_rule,
    target_of,
    winners,
)
from controlplane.resources.backend_protocols import unasked
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.kinds import kind_of
from controlplane.resources.references import target_fault
from controlplane.resources.target import Policy
from controlplane.resources.topology import attached, attachments

ANALYTIC = ("capacity", "equal", "model", "pid")
"""Policies of ours that nobody trained: formulas, which take no goals."""


def do_nothing(scene: Scene) -> Iterator[Finding]:
    """WEIR0201: the target is not there. WEIR0202: another policy has the target. WEIR0203: it has
    its target, and for all that the target stands for a nearer policy counts."""
    for model in POLICIES:
        of = winners(scene.declared, model)
        used = _in_force(scene.declared, model)
        for policy in scene.declared.all(model).values():
            key = ObjectKey(kind_of(model), policy.key)
            faults = 0
            for at, ref in enumerate(policy.spec.target_refs):
                fault = target_fault(scene.declared, of, policy, target_of(policy, ref))
                if fault is not None:
                    faults += 1
                    code = "WEIR0202" if fault.reason == "Conflicted" else "WEIR0201"
                    field, warning = f"spec.targetRefs[{at}]", Severity.WARNING
                    yield scene.finding(warning, code, key, fault.message, fault.advice, field)
            if faults < len(policy.spec.target_refs) and policy.key not in used:
                yield scene.finding(
                    Severity.WARNING,
                    "WEIR0203",
                    key,
                    "it is attached, and in force nowhere",
                    "nearer policies count, as a whole, or nothing is attached to its target",
                )


def not_asked(scene: Scene) -> Iterator[Finding]:
    """WEIR0204: Backends that a policy wants asked by gRPC are spoken to in HTTP/1.1."""
    for key, field, fault in unasked(scene.declared):
        found = (Severity.WARNING, "WEIR0204", key, fault.message, fault.advice, field)
        yield scene.finding(*found)


def objective_unheard(scene: Scene) -> Iterator[Finding]:
    """WEIR0205: a BalancingPolicy says what is wanted, and its policy is none that was trained for
    anything."""
    for policy in scene.declared.all(BalancingPolicy).values():
        if policy.spec.objective is not None and policy.spec.policy in ANALYTIC:
            name = policy.spec.policy
            yield scene.finding(
                Severity.WARNING,
                "WEIR0205",
                ObjectKey(kind_of(BalancingPolicy), policy.key),
                f"`objective` has no effect with `policy: {name}`, an analytic policy",
                "ask for `learned`, or for a policy of your own that was trained for it, or leave "
                "`objective` out",
                "spec.objective",
            )


def _in_force(declared: Declared, model: type[Policy]) -> set[str]:
    """The policies that count for something: a listener, a rule, the connections to a Backend."""
    of, kinds = winners(declared, model), target_kinds(model)
    found: list[Policy | None] = []
    for key, pairs in attached(declared).items():
        gateway = declared.gateways[key]
        if kinds == ("Gateway",):
            found += [of_listener(of, gateway, listener) for listener in gateway.spec.listeners]
        found += [
            of_rule(of, gateway, listener, route, rule)
            for listener, route in pairs
            for rule in route.spec.rules
        ]
    if "Backend" in kinds:
        by_gateway = {key: one.pairs for key, one in attachments(declared).items()}
        found += of_backends(declared, of, declared.every_route, by_gateway).values()
    return {policy.key for policy in found if policy is not None}
