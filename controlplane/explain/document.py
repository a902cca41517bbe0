"""An explanation as plain values, for JSON. Secrets are not among what it is made from."""

from __future__ import annotations

from typing import Any

from controlplane.explain.candidates import Candidate, place_of
from controlplane.explain.explanation import Explanation, Near
from controlplane.explain.fate import Fate
from controlplane.explain.policies import InForce
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.filters import Filter

Document = dict[str, Any]


def document(declared: Declared, one: Explanation) -> Document:
    """All of it, with the files and lines where things are declared."""
    return {
        "request": str(one.request),
        "gateway": one.gateway.key,
        "listener": one.listener.name if one.listener else None,
        "said": one.said,
        "status": one.status,
        "chosen": _candidate(declared, one.chosen) if one.chosen else None,
        "why": one.why,
        "near": [_near(declared, each) for each in one.near],
        "to": [_fate(each) for each in one.fates],
        "policies": [_policy(declared, each) for each in one.policies],
    }


def _candidate(declared: Declared, one: Candidate) -> Document:
    file, line = place_of(declared, ObjectKey(one.route.kind, one.route.key), one.field)
    return {
        "name": one.name,
        "route": one.route.key,
        "rule": one.rule_at,
        "rule_name": one.rule.name,
        "match": one.match.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True),
        "host": one.host,
        "file": file,
        "line": line,
    }


def _near(declared: Declared, one: Near) -> Document:
    found = _candidate(declared, one.candidate)
    return {**found, "matches": one.matches, "why_not": list(one.why)}


def _fate(one: Fate) -> Document:
    return {
        "share": round(one.share, 6),
        "backend": one.backend or None,
        "status": one.status,
        "why": one.why,
        "filters": [_filter(each) for each in one.filters],
    }


def _filter(one: Filter) -> Document:
    return one.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)


def _policy(declared: Declared, one: InForce) -> Document:
    file, line = place_of(declared, ObjectKey(one.policy.kind, one.policy.key))
    return {
        "kind": one.policy.kind,
        "name": one.policy.key,
        "for": one.target,
        "file": file,
        "line": line,
        "outranked": list(one.outranked),
    }
