"""Parts of a rule that are for some requests alone: by payload, by CEL, by token.

Envoy looks at a request, notes what it found, and looks for the route again. The parts of a rule
are told apart so, never rules: which filters a request meets is settled when its first route is
found, so another rule's policies would not be in force.
"""

from __future__ import annotations

from controlplane.resources.route import Rule
from controlplane.resources.route_filter import Condition, Expression, Payload
from controlplane.translate import expressions, payloads, second_choice
from controlplane.translate.extensions import condition_of
from controlplane.translate.security import claims


def of_match(condition: Condition, policy: str) -> bytes:
    """The part of a RouteMatch that holds where the condition does. `policy` is the SecurityPolicy
    that looks at tokens, if any does."""
    if isinstance(condition, Payload):
        return payloads.of_match(condition)
    if isinstance(condition, Expression):
        return expressions.of_match(condition)
    return claims.of_match(condition, policy)


def of_route(rule: Rule) -> bytes:
    """The part of each Route of a rule that has its conditions looked at."""
    found = [one for ref in rule.backend_refs if (one := condition_of(ref.filters))]
    if not found:
        return b""
    of_body = [one for one in found if isinstance(one, Payload)]
    by_rule = [one for one in found if isinstance(one, Expression)]
    again = second_choice.of_route() if len(found) > len(of_body) + len(by_rule) else b""
    return payloads.of_route(of_body) + expressions.of_route(by_rule) + again
