"""The evaluation that a release carries: the league's way, with those that it is compared to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from policies.env.stages import Stages
from policies.league.lineage import Seen
from policies.league.match import Played, play
from policies.league.players import FULL_SCAN, MODEL, P2C, registry, released, those
from policies.league.results import Results, Where
from policies.league.suite import RELEASE_SEEDS, Fixture, Suite
from policies.league.targets import said
from policies.league.tournament import Progress
from policies.simulator import FAMILIES

LEARNED = "learned"
COMPARISONS = {
    "learned/model": (LEARNED, MODEL),
    "learned/equal": (LEARNED, FULL_SCAN),
    "model/equal": (MODEL, FULL_SCAN),
    "learned/p2c": (LEARNED, P2C),
}
"""By their names in `evaluation.json`; `equal` is FULL_SCAN with equal weights."""


def release_suite(seeds: int = 1, families: Sequence[str] | None = None) -> Suite:
    """Cases by which releases may be chosen; the league has others."""
    chosen = tuple(FAMILIES if families is None else families)
    return Suite(chosen, seeds=seeds, first_seed=RELEASE_SEEDS)


HeldOut = Callable[[Fixture], str]
"""What training had not seen of a case, besides its seed: `families`, `sizes` or (only) `seeds`."""


def held_out_of(seen: Seen) -> HeldOut:
    """For a policy that met this in training, whatever our own recipes leave out."""

    def kind(fixture: Fixture) -> str:
        if fixture.family not in seen.families:
            return "families"
        return "seeds" if fixture.endpoints in seen.endpoints else "sizes"

    return kind


def evaluated(
    release: Path,
    suite: Suite,
    progress: Progress | None = None,
    held_out: HeldOut = lambda fixture: fixture.held_out,
) -> dict[str, Any]:
    """A release against its base and stock Envoys, in this process."""
    players = those((P2C, FULL_SCAN, MODEL, LEARNED), [released(LEARNED, release)])
    stages = Stages.installed()
    policies = registry(stages, players)
    played: list[Played] = []
    for fixtures in suite.rounds():
        played += play(fixtures, players, stages, policies)
        if progress is not None:
            progress(len(played), len(suite))
    return summary(Results(played, players), held_out)


def summary(results: Results, held_out: HeldOut) -> dict[str, Any]:
    """All comparisons, over everything, by what was held out, and by family."""
    kinds = sorted({held_out(one.fixture) for one in results.played})
    families = list(dict.fromkeys(one.fixture.family for one in results.played))

    def block(where: Where) -> dict[str, Any]:
        found = results.ratios(list(COMPARISONS.values()), where) or []
        return {name: said(one) for name, one in zip(COMPARISONS, found, strict=False)}

    def of_kind(kind: str) -> Where:
        return lambda one: held_out(one.fixture) == kind

    def of_family(family: str) -> Where:
        return lambda one: one.fixture.family == family

    result: dict[str, Any] = {"overall": block(lambda _: True)}
    if many := block(lambda one: one.proxies >= 16):
        result["16 proxies and more"] = many
    result["held out"] = {kind: block(of_kind(kind)) for kind in kinds}
    result["families"] = {family: block(of_family(family)) for family in families}
    return result
