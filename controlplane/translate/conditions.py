"""Parts of a rule that are for some requests alone: by payload, by CEL.

Envoy looks at a request, notes what it found, and looks for the route again. The parts of a rule
are told apart so, never rules: which filters a request meets is settled when its first route is
found, so another rule's policies would not be in force.
"""

from __future__ import annotations

from controlplane.resources.route import Rule
from controlplane.resources.route_filter import Condition, Payload
from controlplane.translate import expressions, payloads
from controlplane.translate.extensions import condition_of


def of_match(condition: Condition) -> bytes:
    """The part of a RouteMatch that holds where the condition does."""
    if isinstance(condition, Payload):
        return payloads.of_match(condition)
    return expressions.of_match(condition)


def of_route(rule: Rule) -> bytes:
    """The part of each Route of a rule that has its conditions looked at."""
    found = [one for ref in rule.backend_refs if (one := condition_of(ref.filters))]
    if not found:
        return b""
    of_body = [one for one in found if isinstance(one, Payload)]
    others = [one for one in found if not isinstance(one, Payload)]
    return payloads.of_route(of_body) + expressions.of_route(others)
