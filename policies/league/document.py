"""Results as the document that is written (`written`).

    suite       families, loads, sizes, seeds, cases, services, overloaded cases
    players     name, what, kind
    blocks      [{name, cases, players: {player: {mean, p99: [ratio, low, high], errors}}}]
    families    {family: {player: [mean, p99]}} ratios alone, for the heat map
    cells       {player: {family: {load: [mean, p99]}}} the same of those who are judged
    verdicts    {player: {no_harm, targets: [...], scenarios: {family: ...}}}

Every ratio is to FULL_SCAN unless a target names another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies.league.match import Played
from policies.league.players import FULL_SCAN, Player
from policies.league.results import Ratio, Results, Where
from policies.league.suite import Suite
from policies.league.targets import MANY, judged, scenarios, targets, worst
from policies.league.written import FORMAT, MEASURES


def document(suite: Suite, results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """All of it. `about`: where and when it was played."""
    played = results.played
    families = list(dict.fromkeys(one.fixture.family for one in played))
    return {
        "format": FORMAT,
        "what": "latency relative to LEAST_REQUEST with FULL_SCAN on the same cases and requests",
        "about": dict(about),
        "suite": {
            "families": families,
            "loads": list(suite.loads),
            "sizes": [list(size) for size in suite.sizes],
            "seeds": suite.seeds,
            "first_seed": suite.first_seed,
            "cases": len(played),
            "services": len({one.fixture.service for one in played}),
            "overloaded": sum(not one.gated for one in played),
        },
        "players": [one.document() for one in results.players],
        "blocks": [
            {"name": name, "cases": _cases(table), "players": _said(table)}
            for name, where in _blocks(played)
            if (table := results.table(where))
        ],
        "families": {
            family: _alone(results.table(_of_family(family)), MEASURES) for family in families
        },
        "cells": {
            one.name: {
                family: {
                    f"{load:g}": _pair(results.ratio(one.name, FULL_SCAN, _of_cell(family, load)))
                    for load in suite.loads
                }
                for family in families
            }
            for one in results.players
            if judged(one)
        },
        "verdicts": {one.name: _verdict(results, one) for one in results.players if judged(one)},
    }


def _blocks(played: Sequence[Played]) -> list[tuple[str, Where]]:
    blocks: list[tuple[str, Where]] = [("all", lambda _: True)]
    for name, low, high in (("50 to 70 %", 0.0, 0.75), ("85 %", 0.8, 0.9), ("95 %", 0.9, 1.0)):
        blocks.append((name, _of_load(low, high)))
    blocks.append((f"{MANY} Envoys and more", lambda one: one.proxies >= MANY))
    for kind in ("families", "sizes", "seeds"):
        blocks.append((f"held-out {kind}", _of_kind(kind)))
    return blocks


def _of_load(low: float, high: float) -> Where:
    return lambda one: low < one.fixture.load <= high


def _of_kind(kind: str) -> Where:
    return lambda one: one.fixture.held_out == kind


def _of_family(family: str) -> Where:
    return lambda one: one.fixture.family == family


def _of_cell(family: str, load: float) -> Where:
    return lambda one: one.fixture.family == family and one.fixture.load == load


def _cases(table: Mapping[str, Ratio]) -> int:
    return next(iter(table.values())).cases


def _said(table: Mapping[str, Ratio]) -> dict[str, Any]:
    return {
        name: {
            "mean": ratio.mean.document(),
            "p99": ratio.p99.document(),
            "errors": round(ratio.errors, 5),
        }
        for name, ratio in table.items()
    }


def _alone(table: Mapping[str, Ratio], measures: Sequence[str]) -> dict[str, list[float]]:
    return {name: [round(ratio.of(m).ratio, 4) for m in measures] for name, ratio in table.items()}


def _pair(ratio: Ratio | None) -> list[float] | None:
    return None if ratio is None else [round(ratio.of(m).ratio, 4) for m in MEASURES]


def _verdict(results: Results, player: Player) -> dict[str, Any]:
    by_family = scenarios(results, player)
    return {
        "no_harm": worst([one.harm for one in by_family if one.ratio is not None]).value,
        "targets": [one.document() for one in targets(results, player)],
        "scenarios": {one.family: one.document() for one in by_family},
    }
