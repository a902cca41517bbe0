"""What becomes of a request that a rule takes: Backends by weight, a redirect, an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.resources.declared import Declared
from controlplane.resources.filters import Filter
from controlplane.resources.route import BackendRef, HttpRoute, Rule
from controlplane.resources.topology import Unresolved, resolve_backend


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


def fates(declared: Declared, route: HttpRoute, rule: Rule) -> tuple[Fate, ...]:
    """All of them; their shares add up to 1."""
    answer = _redirect(rule.filters)
    if answer is not None:
        return (Fate(1.0, status=answer, why="a redirect", filters=rule.filters),)
    refs = [ref for ref in rule.backend_refs if ref.weight]
    if not refs:
        why = "every weight is 0" if rule.backend_refs else "there are no backendRefs"
        return (Fate(1.0, status=500, why=why, filters=rule.filters),)
    return tuple(_parts(declared, route, rule, refs))


def _parts(
    declared: Declared, route: HttpRoute, rule: Rule, refs: Sequence[BackendRef]
) -> Iterator[Fate]:
    total = sum(ref.weight for ref in refs)
    for ref in refs:
        share, filters = ref.weight / total, (*rule.filters, *ref.filters)
        answer, key = _redirect(ref.filters), resolve_backend(declared, route, ref)
        if isinstance(key, Unresolved):
            yield Fate(share, status=500, why=key.message, filters=filters)
        elif answer is not None:
            yield Fate(share, status=answer, why="a redirect", filters=filters)
        elif not declared.backends[key].spec.endpoints:
            yield Fate(share, status=503, why=f"Backend {key} has no endpoints", filters=filters)
        else:
            yield Fate(share, backend=key, filters=filters)


def _redirect(filters: Sequence[Filter]) -> int | None:
    found = (one.request_redirect for one in filters)
    return next((one.status_code for one in found if one is not None), None)


def has_cors(rule: Rule) -> bool:
    """Whether browsers may ask this rule beforehand whether a page may send a request."""
    filters = (*rule.filters, *(one for ref in rule.backend_refs for one in ref.filters))
    return any(one.type == "CORS" for one in filters)
