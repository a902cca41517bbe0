"""Why a learned policy wanted what it wanted, as a JSON document."""

from __future__ import annotations

from typing import Any

from controlplane.model.attribution import Attribution
from controlplane.model.features import FEATURES

METHOD = "integrated gradients"
"""Sundararajan, Taly and Yan, ICML 2017; docs/explain.md has the equations."""
BASELINE = "the same service if its groups did not differ: there the base acts"


def attributions(policy: str, found: Attribution) -> dict[str, Any]:
    """Of each group the features that moved its share, the largest effect first.

    `moved` and `effect` are natural logarithms of factors on the share that the base wanted; the
    effects of a group and `unexplained` sum to what it was moved. A feature without effect is left
    out.
    """
    groups = [
        {
            "group": name,
            "moved": _number(found.answer[i]),
            "unexplained": _number(found.unexplained[i]),
            "features": _features(found, i),
        }
        for i, name in enumerate(found.groups)
    ]
    return {
        "policy": policy,
        "method": METHOD,
        "baseline": BASELINE,
        "points": found.points,
        "groups": groups,
        "why_not": None,
    }


def none(policy: str, why_not: str) -> dict[str, Any]:
    """The same where there are none."""
    return {
        "policy": policy,
        "method": METHOD,
        "baseline": BASELINE,
        "points": 0,
        "groups": [],
        "why_not": why_not,
    }


def _features(found: Attribution, i: int) -> list[dict[str, Any]]:
    rows = [
        {
            "feature": feature,
            "value": _number(found.seen[i, k]),
            "baseline": _number(found.baseline[i, k]),
            "effect": _number(found.effects[i, k]),
        }
        for k, feature in enumerate(FEATURES)
        if found.effects[i, k] != 0.0
    ]
    return sorted(rows, key=lambda row: -abs(row["effect"]))


def _number(value: Any) -> float:  # noqa: ANN401 - a number of numpy's
    return float(f"{float(value):.6g}")
