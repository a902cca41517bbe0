"""One service instead of the suite: one that `weir sim calibrate` fitted to recorded metrics.

Each seed is a stretch of its recording, with requests of its own: the loads are those that the
service had. Of how telemetry comes nothing was fitted, so it is as in the suite. Seeds are those
of the league, so that a policy that was trained on the service meets requests that it never saw.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from controlplane.errors import WeirError
from policies.league.lineage import lineage
from policies.league.match import Played
from policies.league.players import FULL_SCAN, MODEL, Kind, Player, folder_of
from policies.league.results import Results
from policies.league.suite import DURATION_S, LEAGUE_SEEDS, Fixture
from policies.league.tables import Table, interval
from policies.league.targets import said
from policies.league.tournament import Progress, cores, rounds_played
from policies.simulator import HELD_OUT_SEEDS, Case
from policies.simulator.fitted import Fitted

SEEDS = 24
_TOGETHER = 6
"""Stretches that are played side by side."""


@dataclass(frozen=True, slots=True)
class Stretch(Fixture):
    """One of the recording."""

    fitted: Fitted
    begins_s: float

    def case(self) -> Case:
        """The case, with telemetry by the seed as in the suite."""
        seen = np.random.default_rng([self.seed, zlib.crc32(self.family.encode()), 1])
        return replace(
            self.fitted.stretch(self.begins_s, DURATION_S),
            orca=bool(self.seed % 2),
            sampling=float(seen.choice((1.0, 1.0, 0.5, 0.2))),
            delay_s=float(seen.uniform(0.1, 0.5)),
        )


def stretches(fitted: Fitted, seeds: int, first_seed: int = LEAGUE_SEEDS) -> list[Stretch]:
    """One for each seed, anywhere in the recording. ValueError where there is none."""
    if seeds < 1:
        raise ValueError(f"wanted at least 1 seed, got {seeds}")
    if first_seed < HELD_OUT_SEEDS:
        raise ValueError(f"seeds below {HELD_OUT_SEEDS} are for training")
    begins, found = fitted.begins_s(DURATION_S), []
    whole = fitted.case
    for seed in range(first_seed, first_seed + seeds):
        at = float(np.random.default_rng(seed).choice(begins))
        case = fitted.stretch(at, DURATION_S)
        rate = case.traffic.rate_rps
        lasts = np.diff([*rate.from_s, DURATION_S])
        load = float(lasts @ np.array(rate.value)) / DURATION_S / case.capacity_rps
        found.append(
            Stretch(
                fitted.name, load, len(whole.stations), whole.proxies, seed, fitted, begins_s=at
            )
        )
    return found


def played(
    chosen: Sequence[Stretch],
    players: Sequence[Player],
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every player on every stretch of one service, as a document.

    `service` (name, digest, loads), `players` ({name, what, kind, mean_s, p99_s, errors, and of
    FULL_SCAN, `model`: mean and p99 as [ratio, low, high]}, the best first), and `notes`.
    """
    rounds = [chosen[i : i + _TOGETHER] for i in range(0, len(chosen), _TOGETHER)]
    done: dict[int, Played] = {}
    for some in rounds_played(rounds, players, jobs or cores()):
        done |= {one.fixture.seed: one for one in some}
        if progress is not None:
            progress(len(done), len(chosen))
    in_order = [done[one.seed] for one in chosen]
    _check(in_order, players)
    return document(chosen, Results(in_order, players), notes(chosen[0].fitted, players))


def _check(in_order: Sequence[Played], players: Sequence[Player]) -> None:
    """WeirError where somebody answered nothing: of that there is no ratio."""
    for one in players:
        if not all(np.isfinite(each.got[one.name].mean_s) for each in in_order):
            raise WeirError(
                f"{in_order[0].fixture.family}: with {one.name} no request was answered in some "
                "stretch, of which nothing can be told; record where there are more"
            )


def document(chosen: Sequence[Stretch], results: Results, noted: Sequence[str]) -> dict[str, Any]:
    """What came of it."""
    first = chosen[0]
    loads = [one.load for one in chosen]
    others = {other: results.table(other=other) for other in _measured_by(results.players)}
    rows = []
    for player in results.players:
        got = [one.got[player.name] for one in results.played]
        rows.append(
            {
                **player.document(),
                "mean_s": round(float(np.exp(np.mean([np.log(one.mean_s) for one in got]))), 6),
                "p99_s": round(float(np.exp(np.mean([np.log(one.p99_s) for one in got]))), 6),
                "errors": round(float(np.mean([one.error_ratio for one in got])), 5),
                "to": {other: said(table[player.name]) for other, table in others.items()},
            }
        )
    return {
        "service": {
            "name": first.family,
            "digest": first.fitted.digest,
            "endpoints": first.endpoints,
            "proxies": first.proxies,
            "loads": [round(one, 3) for one in (min(loads), float(np.mean(loads)), max(loads))],
            "seeds": len(chosen),
            "first_seed": first.seed,
            "overloaded": sum(not one.gated for one in results.played),
        },
        "players": sorted(rows, key=lambda row: row["mean_s"]),
        "notes": list(noted),
    }


def _measured_by(players: Sequence[Player]) -> list[str]:
    return [name for name in (FULL_SCAN, MODEL) if any(one.name == name for one in players)]


def notes(fitted: Fitted, players: Sequence[Player]) -> list[str]:
    """A sentence for each release that was trained on this very service."""
    found = []
    for player in players:
        if player.kind is Kind.RELEASED and fitted.digest in _trained_on(player):
            found.append(
                f"{player.name} was trained on this service, with other requests: that is what it "
                "is worth here, and nothing is said of other services"
            )
    return found


def _trained_on(player: Player) -> set[str]:
    """Digests of the fitted services that its manifest names; none where it cannot be read."""
    found: set[str] = set()
    try:
        manifest = json.loads((folder_of(player) / "manifest.json").read_text())
        for run in lineage(manifest):
            found |= {str(one["digest"]) for one in run.recipe["scenarios"].get("fitted", ())}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # what was read of it holds
    return found


def table(one: Mapping[str, Any]) -> Table:
    """For people: every player, the best first."""
    service = one["service"]
    others = list(one["players"][0]["to"])
    rows = []
    for player in one["players"]:
        cells = [
            interval(player["to"][other][measure])
            for other in others
            for measure in ("mean", "p99")
        ]
        seconds = [f"{1e3 * player[name]:.1f}" for name in ("mean_s", "p99_s")]
        rows.append([player["what"], *seconds, *cells, f"{player['errors']:.2%}"])
    heads = [f"{measure} / {other}" for other in others for measure in ("mean", "p99")]
    low, middle, high = service["loads"]
    overloaded = f", {service['overloaded']} overloaded" if service["overloaded"] else ""
    return Table(
        f"{service['name']}: {service['endpoints']} endpoints, {service['proxies']} Envoys, "
        f"{service['seeds']} stretches of {DURATION_S:g} s at loads of {low:.0%} to {high:.0%} "
        f"(mean {middle:.0%}{overloaded})",
        ["", "mean ms", "p99 ms", *heads, "errors"],
        rows,
    )
