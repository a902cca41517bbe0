"""Parts of rules that are for the bearers of some tokens, and who looks at these tokens."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.resources.attachment import of_rule, winners
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.filters import Filter
from controlplane.resources.problems import did_you_mean
from controlplane.resources.route import RequestRoute, Rule
from controlplane.resources.route_filter import HttpRouteFilter
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.topology import Unresolved, attachments, resolve_filter


def providers_of(policy: SecurityPolicy | None) -> tuple[str, ...]:
    """Whose tokens a policy believes."""
    jwt = policy.spec.jwt if policy is not None else None
    return tuple(one.name for one in jwt.providers) if jwt is not None else ()


def untold(declared: Declared) -> Iterator[tuple[ObjectKey, str, Unresolved]]:
    """Parts that nobody gets to, because no policy in force has the provider of their tokens."""
    if not any(one.spec.jwt for one in declared.all(HttpRouteFilter).values()):
        return
    of, told = winners(declared, SecurityPolicy), set[tuple[ObjectKey, str]]()
    for gateway, found in attachments(declared).items():
        for listener, route in found.requests:
            key = ObjectKey(route.kind, route.key)
            for at, rule in enumerate(route.spec.rules):
                wanted = list(_wanted(declared, route, rule, f"spec.rules[{at}]"))
                if not wanted:
                    continue
                policy = of_rule(of, declared.gateways[gateway], listener, route, rule)
                for field, filter_, provider in wanted:
                    if provider in providers_of(policy) or (key, field) in told:
                        continue
                    told.add((key, field))
                    yield key, field, _why(filter_, provider, policy, gateway, listener.name)


def _wanted(
    declared: Declared, route: RequestRoute, rule: Rule, where: str
) -> Iterator[tuple[str, str, str]]:
    """Of each filter of a rule that wants a token: its field, what it refers to, the provider."""
    for which, ref in enumerate(rule.backend_refs):
        for number, one in enumerate(ref.filters):
            found = _referred(declared, route, one)
            if found is not None and found.spec.jwt is not None:
                field = f"{where}.backendRefs[{which}].filters[{number}]"
                yield field, found.key, found.spec.jwt.provider


def _referred(declared: Declared, route: RequestRoute, one: Filter) -> HttpRouteFilter | None:
    if one.extension_ref is None:
        return None
    found = resolve_filter(declared, route, one.extension_ref)
    return None if isinstance(found, Unresolved) else found


def _why(
    filter_: str, provider: str, policy: SecurityPolicy | None, gateway: str, listener: str
) -> Unresolved:
    at = f"at listener {listener} of Gateway {gateway}"
    if policy is None:
        said = f"no SecurityPolicy is in force {at}"
        advice = f"declare a SecurityPolicy with a provider {provider} in jwt for the rule"
    else:
        said = f"SecurityPolicy {policy.key}, which is in force {at}, has no provider {provider!r}"
        advice = did_you_mean(provider, providers_of(policy)) or "name it in jwt of the policy"
    return Unresolved(f"HTTPRouteFilter {filter_} is for nobody: {said}", advice)
