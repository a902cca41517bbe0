"""Machines of several generations, few of each: what groups are worth there, on the simulator.

    python -m benchmarks.generations [--family generations] [--seeds 4]

Cases of the family with 6 to 11 endpoints and 8 to 64 Envoys, at loads of 50 to 95 %, on seeds by
which releases may be chosen. Prints the ratios of everybody to FULL_SCAN by load and by size, and,
for the family itself, writes benchmarks/results/generations.json. What code before did is what the
same command says there.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from controlplane.checkout import commit
from policies.league.match import Played
from policies.league.players import FULL_SCAN, MODEL, PID, installed, releases, those
from policies.league.results import Results, Where
from policies.league.suite import Suite
from policies.league.tables import interval
from policies.league.targets import said
from policies.league.tournament import cores, rounds_played

RESULT = Path(__file__).parent / "results" / "generations.json"
SIZES = ((6, 16), (6, 64), (8, 8), (8, 16), (8, 32), (9, 64), (11, 32))
"""Endpoints and Envoys."""
LOADS = (0.5, 0.7, 0.85, 0.95)
FIRST_SEED = 1_600_000
"""By which a release may be chosen, and none was."""
LEARNED = "learned"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="generations")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    at = commit()
    players = those((FULL_SCAN, PID, MODEL, LEARNED), installed())
    suite = Suite((args.family,), LOADS, SIZES, args.seeds, FIRST_SEED)
    rounds = list(suite.rounds())
    played = [one for some in rounds_played(rounds, players, cores()) for one in some]
    results = Results(sorted(played, key=_order), players)
    parts: dict[str, Where] = {"all": lambda _: True}
    parts |= {f"{load:.0%}": partial(_at_load, load) for load in LOADS}
    parts |= {f"{n} x {envoys}": partial(_of_size, (n, envoys)) for n, envoys in SIZES}
    found: dict[str, Any] = {}
    for name, where in parts.items():
        table = results.table(where)
        found[name] = {one.name: said(table[one.name]) for one in players}
    print(f"| {args.family}, mean / p99 to FULL_SCAN | PID | model | learned |\n|---|---|---|---|")
    for name, row in found.items():
        cells = (
            f"{interval(row[one]['mean'])} / {interval(row[one]['p99'])}"
            for one in (PID, MODEL, LEARNED)
        )
        print(f"| {name} |", " | ".join(cells), "|")
    if args.family == parser.get_default("family"):
        made_by = {"commit": at, "releases": releases(installed()), "seeds": args.seeds}
        RESULT.write_text(json.dumps({**made_by, "to_full_scan": found}, indent=1) + "\n")


def _at_load(load: float, one: Played) -> bool:
    return one.fixture.load == load


def _of_size(size: tuple[int, int], one: Played) -> bool:
    return (one.fixture.endpoints, one.fixture.proxies) == size


def _order(one: Played) -> tuple[Any, ...]:
    fixture = one.fixture
    return fixture.load, fixture.endpoints, fixture.proxies, fixture.seed


if __name__ == "__main__":
    main()
