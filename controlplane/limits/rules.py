"""The rules that are counted, from the declared policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.resources import Declared
from controlplane.resources.rate_limit import rule_key
from controlplane.resources.traffic_policy import TrafficPolicy


@dataclass(frozen=True, slots=True)
class Rule:
    """So many in so long."""

    key: str
    """What Envoys call it."""
    requests: int
    unit_s: int
    sliding: bool = False
    shadow: bool = False
    """Counted, and let through."""
    closed: bool = False
    """Refused while nobody can count."""


def rules(declared: Declared) -> Mapping[str, Rule]:
    """The global rules of every policy, by their keys."""
    found = {}
    for policy in declared.all(TrafficPolicy).values():
        limits = policy.spec.rate_limit
        for at, rule in enumerate(limits.global_.rules if limits and limits.global_ else ()):
            key = rule_key(policy.key, at)
            limit = rule.limit
            found[key] = Rule(
                key,
                limit.requests,
                limit.unit_s,
                sliding=limit.window == "Sliding",
                shadow=rule.shadow_mode,
                closed=rule.fail_closed,
            )
    return found
