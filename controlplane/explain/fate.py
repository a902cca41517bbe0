"""What becomes of a request that a rule takes: Backends by weight, a redirect, an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.resources.authorization import JwtPrincipal
from controlplane.resources.declared import Declared
from controlplane.resources.filters import Filter
from controlplane.resources.route import BackendRef, RequestRoute, Rule
from controlplane.resources.route_filter import HttpRouteFilter
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.token_references import providers_of
from controlplane.resources.topology import Unresolved, resolve_backend, resolve_filter


@dataclass(frozen=True, slots=True)
class Fate:
    """Requests of a rule that are treated alike."""

    share: float
    """Of the requests, 0 to 1."""
    backend: str = ""
    """`namespace/name`; empty where nobody is asked."""
    status: int | None = None
    """What is answered where nobody is asked."""
    why: str = ""
    filters: tuple[Filter, ...] = ()
    """What is done on the way, in this order."""


def fates(
    declared: Declared, route: RequestRoute, rule: Rule, policy: SecurityPolicy | None
) -> tuple[Fate, ...]:
    """All of them; the shares of those without a condition add up to 1. `policy` is the one that
    looks at tokens."""
    answer = _redirect(rule.filters)
    if answer is not None:
        return (Fate(1.0, status=answer, why="a redirect", filters=rule.filters),)
    said = _extensions(declared, route, rule.filters)
    if said:
        found = said[0]
        status = rule.nowhere
        if not isinstance(found, Unresolved) and found.spec.direct_response is not None:
            status = found.spec.direct_response.status_code
        why = found.message if isinstance(found, Unresolved) else f"HTTPRouteFilter {found.key}"
        return (Fate(1.0, status=status, why=why, filters=rule.filters),)
    refs = [ref for ref in rule.backend_refs if ref.weight]
    if not refs:
        why = "every weight is 0" if rule.backend_refs else "there are no backendRefs"
        return (Fate(1.0, status=rule.nowhere, why=why, filters=rule.filters),)
    conditions = [_condition(declared, route, ref, policy) for ref in refs]
    others = [ref for ref, condition in zip(refs, conditions, strict=True) if not condition]
    chosen = [
        _chosen(declared, route, rule, ref, condition)
        for ref, condition in zip(refs, conditions, strict=True)
        if condition
    ]
    if not others:
        why = "what fits no backendRef"
        return (*chosen, Fate(1.0, status=rule.nowhere, why=why, filters=rule.filters))
    return (*chosen, *_parts(declared, route, rule, others))


def _chosen(
    declared: Declared, route: RequestRoute, rule: Rule, ref: BackendRef, condition: str
) -> Fate:
    """Requests of a condition, which go before all others; how many these are nobody knows."""
    key, filters = resolve_backend(declared, route, ref), (*rule.filters, *ref.filters)
    if isinstance(key, Unresolved):
        return Fate(0.0, status=rule.nowhere, why=f"{condition}: {key.message}", filters=filters)
    return Fate(0.0, key, why=condition, filters=filters)


def _parts(
    declared: Declared, route: RequestRoute, rule: Rule, refs: Sequence[BackendRef]
) -> Iterator[Fate]:
    total = sum(ref.weight for ref in refs)
    for ref in refs:
        filters = (*rule.filters, *ref.filters)
        answer, key = _redirect(ref.filters), resolve_backend(declared, route, ref)
        share = ref.weight / total
        broken = [
            one for one in _extensions(declared, route, ref.filters) if isinstance(one, Unresolved)
        ]
        if broken or isinstance(key, Unresolved):
            fault = broken[0] if broken else key
            why = fault.message if isinstance(fault, Unresolved) else ""
            yield Fate(share, status=rule.nowhere, why=why, filters=filters)
        elif answer is not None:
            yield Fate(share, status=answer, why="a redirect", filters=filters)
        elif not declared.backends[key].spec.endpoints:
            yield Fate(share, status=503, why=f"Backend {key} has no endpoints", filters=filters)
        else:
            yield Fate(share, backend=key, filters=filters)


def _extensions(
    declared: Declared, route: RequestRoute, filters: Sequence[Filter]
) -> list[HttpRouteFilter | Unresolved]:
    refs = (one.extension_ref for one in filters)
    return [resolve_filter(declared, route, ref) for ref in refs if ref is not None]


def _condition(
    declared: Declared, route: RequestRoute, ref: BackendRef, policy: SecurityPolicy | None
) -> str:
    """In words, which requests a backendRef is for; empty: its share of all."""
    for one in _extensions(declared, route, ref.filters):
        if not isinstance(one, Unresolved) and one.spec.condition is not None:
            token = f", {_token(one.spec.jwt, policy)}" if one.spec.jwt is not None else ""
            return f"all requests that HTTPRouteFilter {one.key} is for{token}"
    return ""


def _token(wanted: JwtPrincipal, policy: SecurityPolicy | None) -> str:
    if policy is None or wanted.provider not in providers_of(policy):
        return f"which are none: no SecurityPolicy in force has a provider {wanted.provider!r}"
    parts = [f"{one.name} {' or '.join(one.values)}" for one in wanted.claims]
    parts += [f"scope {one}" for one in wanted.scopes]
    return (
        f"by a token of {wanted.provider} that SecurityPolicy {policy.key} found good: "
        f"{', '.join(parts)}"
    )


def _redirect(filters: Sequence[Filter]) -> int | None:
    found = (one.request_redirect for one in filters)
    return next((one.status_code for one in found if one is not None), None)


def has_cors(rule: Rule) -> bool:
    """Whether browsers may ask this rule beforehand whether a page may send a request."""
    filters = (*rule.filters, *(one for ref in rule.backend_refs for one in ref.filters))
    return any(one.type == "CORS" for one in filters)
