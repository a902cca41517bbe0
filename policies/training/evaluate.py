"""Policies played on cases that training never saw, all on the same requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from policies.env.draw import Draw
from policies.env.lockstep import Lockstep
from policies.env.stages import Stages
from policies.simulator import (
    FAMILIES,
    HELD_OUT_ENDPOINTS,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    TRAINING_ENDPOINTS,
    TRAINING_FAMILIES,
    Algorithm,
    Case,
    Outcome,
)

POLICIES = ("p2c", "equal", "model", "learned")
"""LEAST_REQUEST as Envoy ships it; FULL_SCAN with equal weights; the base; the residual on it."""
SEEDS = (HELD_OUT_SEEDS, 2 * HELD_OUT_SEEDS)
TOGETHER = 48
"""Cases that are played side by side."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Played:
    """One case and what each policy's requests got."""

    held_out: str
    """What training had not seen: `seeds`, `sizes` (seeds too) or `families` (seeds too)."""
    case: Case
    outcomes: Mapping[str, Outcome]

    def mean_s(self, policy: str) -> float:
        """Mean latency of the successes."""
        return self.outcomes[policy].mean_s

    def p99_s(self, policy: str) -> float:
        """99th percentile of the successes."""
        return self.outcomes[policy].quantile_s(0.99)


def held_out_cases(
    per_family: int, *, families: Sequence[str] | None = None, seed: int = 5
) -> list[tuple[str, Case, int]]:
    """(kind, case, seed of its requests): `per_family` of each family and kind."""
    random = np.random.default_rng(seed)
    chosen = tuple(families or FAMILIES)
    known = [one for one in chosen if one in TRAINING_FAMILIES]
    strange = [one for one in chosen if one in HELD_OUT_FAMILIES]
    drawn = []
    for kind, names, endpoints in (
        ("seeds", known, TRAINING_ENDPOINTS),
        ("sizes", known, HELD_OUT_ENDPOINTS),
        ("families", strange, TRAINING_ENDPOINTS),
    ):
        for name in names:
            draw = Draw(families={name: 1.0}, endpoints=endpoints, seeds=SEEDS)
            drawn += [(kind, *draw.case(random)) for _ in range(per_family)]
    return drawn


def play(
    drawn: Sequence[tuple[str, Case, int]],
    *,
    release: Path | None = None,
    policies: Sequence[str] = POLICIES,
    progress: Progress | None = None,
) -> list[Played]:
    """Every policy on every case. `release`: the folder of `learned`, the installed one if None."""
    stages = Stages.installed()
    policies_by_name = registry(stages, release)
    played: list[Played] = []
    for start in range(0, len(drawn), TOGETHER):
        part = drawn[start : start + TOGETHER]
        by_policy = {policy: _play(stages, policies_by_name, part, policy) for policy in policies}
        for i, (kind, case, _) in enumerate(part):
            played.append(Played(kind, case, {name: by_policy[name][i] for name in policies}))
        if progress is not None:
            progress(len(played), len(drawn))
    return played


def _play(
    stages: Stages,
    policies_by_name: Any,  # noqa: ANN401 - the decide stage's own registry
    part: Sequence[tuple[str, Case, int]],
    policy: str,
) -> list[Outcome]:
    """What the requests of these cases get under a policy."""
    acts = None if policy in ("p2c", "equal") else policy
    cases = [(_stock(case, policy), seed, acts) for _, case, seed in part]
    lockstep = Lockstep(stages, policies_by_name, cases)
    duration_s = max(case.duration_s for _, case, _ in part)
    while lockstep.now_s < duration_s - 1e-9:
        decided = lockstep.look()
        lockstep.act(decided, [None if one is None else one.proposal for one in decided])
    lockstep.drain()
    return lockstep.outcomes()


def _stock(case: Case, policy: str) -> Case:
    if policy != "p2c":
        return case
    return replace(case, balancing=replace(case.balancing, algorithm=Algorithm.LEAST_REQUEST))


def registry(stages: Stages, release: Path | None) -> Any:  # noqa: ANN401
    """The policies of serving, with the `learned` of this folder, or the installed one if None."""
    points = {point.name: point for point in entry_points(group="controlplane.policies")}
    makers = {name: point.load for name, point in points.items()}
    if release is not None:
        learned = points["learned"].load()
        makers["learned"] = lambda: partial(learned, folder=release)
    found = stages.decide.Policies(makers)
    found.get("learned")  # a release that is refused is refused here, in its own words
    return found


def interval(log_ratios: np.ndarray[Any, Any], *, resamples: int = 4000) -> list[float]:
    """[geometric mean, lower, upper]: paired bootstrap over cases, 95 %."""
    random = np.random.default_rng(11)
    n = len(log_ratios)
    means = log_ratios[random.integers(0, n, (resamples, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [round(float(np.exp(v)), 4) for v in (log_ratios.mean(), low, high)]


def compare(played: Sequence[Played], policy: str, other: str) -> dict[str, Any]:
    """Ratios of one policy to another, and the errors of both."""

    def ratios(of: Callable[[Played, str], float]) -> np.ndarray[Any, Any]:
        return np.array([np.log(of(one, policy) / of(one, other)) for one in played])

    return {
        "cases": len(played),
        "mean": interval(ratios(Played.mean_s)),
        "p99": interval(ratios(Played.p99_s)),
        "errors": [
            round(float(np.mean([one.outcomes[name].error_ratio for one in played])), 5)
            for name in (policy, other)
        ],
    }


COMPARISONS = (("learned", "model"), ("learned", "equal"), ("model", "equal"), ("learned", "p2c"))


def summary(played: Sequence[Played]) -> dict[str, Any]:
    """All comparisons, over everything, by what was held out, and by family."""

    def block(some: Sequence[Played]) -> dict[str, Any]:
        return {f"{a}/{b}": compare(some, a, b) for a, b in COMPARISONS}

    kinds = sorted({one.held_out for one in played})
    families = [name for name in FAMILIES if any(one.case.name == name for one in played)]
    many = [one for one in played if one.case.proxies >= 16]
    result: dict[str, Any] = {"overall": block(played)}
    if many:
        result["16 proxies and more"] = block(many)
    result["held out"] = {k: block([one for one in played if one.held_out == k]) for k in kinds}
    result["families"] = {
        name: block([one for one in played if one.case.name == name]) for name in families
    }
    return result
