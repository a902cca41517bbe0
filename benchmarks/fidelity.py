"""The simulator against real Envoys: what the arena measured beside what it predicts.

    python -m benchmarks.fidelity [--arena benchmarks/results/arena.json] [--docs docs/simulator.md]

Each heat of the arena is one schedule: when each request came, and how much work it asked for. The
simulator replays that schedule, on the same backends with the same script, so both are told of a
scenario by one description (controlplane/lab/scenarios.py) and differ in who plays it. At which
Envoy a request arrives is drawn anew, and averaged over `--draws`. Written to
`benchmarks/results/fidelity.json`; `--docs` also puts the table into a document.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controlplane.lab.arena.contestants import CONTESTANTS, Contestant
from controlplane.lab.arena.results import Heat, LaneResult
from controlplane.lab.arena.suite import of_suite
from controlplane.lab.backend_process import FAIL_AFTER_S
from controlplane.lab.backends import BackendSpec, Event, Happening
from controlplane.lab.load import DEADLINE_S
from controlplane.lab.scenarios import Stage, stage
from controlplane.lab.station import MAX_QUEUE
from controlplane.model import Actuation
from policies.env.stages import Stages
from policies.league.match import outcomes
from policies.league.players import Kind, Player, registry
from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Station,
    Steps,
    Trace,
    Traffic,
    Work,
)

RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- fidelity: begin -->", "<!-- fidelity: end -->"
WANTED = 0.15
ALGORITHMS = {
    "full_scan": Algorithm.FULL_SCAN,
    "least_request": Algorithm.LEAST_REQUEST,
    "round_robin": Algorithm.ROUND_ROBIN,
    "cswrr": Algorithm.CSWRR,
}


def case_of(made: Stage, *, warmup_s: float, algorithm: Algorithm) -> Case:
    """The stage as the simulator knows it; its time 0 is the beginning of the warm-up."""
    schedule, work = made.schedule, made.scenario.work
    joins = {backend: at_s for at_s, backend in made.joins}
    stations = []
    for i, spec in enumerate(made.scenario.backends):
        events = [replace(e, at_s=e.at_s + warmup_s) for e in made.events if e.backend == i]
        station = station_of(spec, events, fail_work=FAIL_AFTER_S / work.mean_s)
        stations.append(replace(station, joins_s=joins[i] + warmup_s if i in joins else 0.0))
    return Case(
        name=made.scenario.name,
        stations=tuple(stations),
        traffic=Traffic(
            Steps.of(1.0), trace=Trace(at_s=schedule.at_s + warmup_s, work_s=schedule.work_s)
        ),
        work=Work(work.mean_s),
        proxies=schedule.envoys,
        duration_s=schedule.until_s + warmup_s,
        balancing=Balancing(algorithm),
        timeout_s=DEADLINE_S,
        queue_limit=MAX_QUEUE,
    )


def arena_case(
    name: str, seed: int, *, duration_s: float, warmup_s: float, algorithm: Algorithm
) -> Case:
    """A scenario of the arena with this seed, as the simulator knows it."""
    scenario = of_suite(name)
    made = stage(
        scenario, seed=seed, duration_s=duration_s, envoys=scenario.envoys, warmup_s=warmup_s
    )
    return case_of(made, warmup_s=warmup_s, algorithm=algorithm)


def station_of(spec: BackendSpec, events: Sequence[Event], *, fail_work: float) -> Station:
    """One backend with its script, in order of time."""
    slow, fails = {0.0: 1.0}, {0.0: 0.0}
    pauses = []
    for event in events:
        match event.happening:
            case Happening.SLOW:
                slow[event.at_s] = 1.0 / event.value
            case Happening.FAIL:
                fails[event.at_s] = event.value
            case Happening.PAUSE:
                pauses.append((event.at_s, event.at_s + event.value))
            case Happening.RESTORE:
                slow[event.at_s], fails[event.at_s] = 1.0, 0.0
    return Station(
        workers=spec.workers,
        speed=Steps.of(spec.speed) * _steps(slow) * Steps.during(pauses, 0.0),
        fails=_steps(fails),
        fail_work=fail_work,
    )


def _steps(changes: dict[float, float]) -> Steps:
    times = sorted(changes)
    return Steps(tuple(times), tuple(changes[at] for at in times))


def player_of(who: Contestant) -> Player:
    """The contestant as the league has it."""
    algorithm = ALGORITHMS.get(who.name, Algorithm.FULL_SCAN)
    kind = Kind.BASELINE if who.policy else Kind.STOCK
    return Player(
        who.name, who.title, kind, algorithm, who.policy or None, Actuation(who.actuation)
    )


class Predictions:
    """What the simulator says of contestants, with the stages that serve."""

    def __init__(self, contestants: Sequence[Contestant]) -> None:
        self._stages = Stages.installed()
        self._players = {one.name: player_of(one) for one in contestants}
        self._policies = registry(self._stages, list(self._players.values()))

    def of(self, made: Stage, name: str, seed: int, *, warmup_s: float) -> tuple[float, float]:
        """Mean and 99th percentile of the successes after the warm-up, seconds."""
        player = self._players[name]
        case = case_of(made, warmup_s=warmup_s, algorithm=player.algorithm)
        (felt,) = outcomes([(case, seed)], player, self._stages, self._policies, skipped_s=warmup_s)
        return felt.mean_s, felt.quantile_s(0.99)


@dataclass(frozen=True)
class Row:
    """One lane in one scenario, over the seeds of its valid heats: milliseconds."""

    scenario: str
    lane: str
    measured: dict[str, float]
    predicted: dict[str, float]

    def gap(self, measure: str) -> float:
        return self.predicted[measure] / self.measured[measure] - 1.0


def rows(heats: Sequence[Heat], length: dict[str, Any], draws: int) -> list[Row]:
    """Of every lane in every scenario. A lane that played a schedule twice is predicted once."""
    predictions = Predictions(list(CONTESTANTS.values()))
    warmup_s = length["warmup_s"]
    schedules: dict[tuple[str, int], dict[str, list[LaneResult]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for heat in heats:
        for name, lane in heat.lanes.items():
            schedules[heat.scenario, heat.seed][name].append(lane)
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    for (scenario_name, seed), lanes in schedules.items():
        scenario = of_suite(scenario_name)
        made = stage(
            scenario,
            seed=seed,
            duration_s=length["duration_s"],
            envoys=scenario.envoys,
            warmup_s=warmup_s,
        )
        for name, played in lanes.items():
            told = [
                predictions.of(made, name, draw, warmup_s=warmup_s) for draw in range(1, draws + 1)
            ]
            mean, p99 = (1e3 * statistics.fmean(one) for one in zip(*told, strict=True))
            for lane in played:
                if lane.mean_ms is not None and lane.p99_ms is not None:
                    found[scenario_name, name].append((lane.mean_ms, lane.p99_ms, mean, p99))
        print(f"{scenario_name}, seed {seed}", flush=True)
    made_rows = []
    for (scenario_name, name), values in found.items():
        means = [statistics.fmean(one) for one in zip(*values, strict=True)]
        made_rows.append(
            Row(
                scenario_name,
                name,
                {"mean": means[0], "p99": means[1]},
                {"mean": means[2], "p99": means[3]},
            )
        )
    return made_rows


def table(done: Sequence[Row], facts: str) -> str:
    lines = [
        "| scenario | lane | mean measured | predicted | gap | p99 measured | predicted | gap |",
        "|---" * 8 + "|",
    ]
    for row in done:
        cells = []
        for measure in ("mean", "p99"):
            gap = row.gap(measure)
            shown = f"{gap:+.0%}" if abs(gap) <= WANTED else f"**{gap:+.0%}**"
            cells += [f"{row.measured[measure]:.0f}", f"{row.predicted[measure]:.0f}", shown]
        lines.append(f"| {row.scenario} | {CONTESTANTS[row.lane].title} | {' | '.join(cells)} |")
    within = [
        f"{sum(abs(row.gap(m)) <= WANTED for row in done)} of {len(done)} {name}"
        for m, name in (("mean", "means"), ("p99", "99th percentiles"))
    ]
    scenarios = {row.scenario for row in done}
    off = {row.scenario for row in done if max(abs(row.gap(m)) for m in row.measured) > WANTED}
    return "\n".join(
        [
            *lines,
            "",
            f"Milliseconds. Within {WANTED:.0%}: {' and '.join(within)}; in both and in every lane "
            f"{len(scenarios - off)} of {len(scenarios)} scenarios. {facts}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arena", type=Path, default=RESULTS / "arena.json")
    parser.add_argument("--draws", type=int, default=3, help="of the Envoy of each request")
    parser.add_argument("--out", type=Path, default=RESULTS / "fidelity.json")
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    document = json.loads(args.arena.read_text())
    heats = [one for one in map(Heat.of_json, document["heats"]) if one.valid]
    done = rows(heats, document["settings"], args.draws)
    many = len({(heat.scenario, heat.seed) for heat in heats})
    duration_s = document["settings"]["duration_s"]
    facts = f"Schedules: {many}, {duration_s:.0f} s each. Made by `benchmarks/fidelity.py`."
    text = table(done, facts)
    result = [
        {"scenario": row.scenario, "lane": row.lane}
        | {f"{m}_measured_ms": round(row.measured[m], 2) for m in ("mean", "p99")}
        | {f"{m}_predicted_ms": round(row.predicted[m], 2) for m in ("mean", "p99")}
        | {f"{m}_gap": round(row.gap(m), 4) for m in ("mean", "p99")}
        for row in done
    ]
    args.out.write_text(json.dumps({"schedules": many, "rows": result}, indent=1) + "\n")
    print(text)
    if args.docs:
        whole = args.docs.read_text()
        head, rest = whole.split(BEGIN)
        args.docs.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
