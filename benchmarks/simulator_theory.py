"""The simulator against queueing theory, side by side.

    python -m benchmarks.simulator_theory [--requests 2000000] [--docs docs/simulator.md]

Each row is a formula from the literature and what the simulator gets for the same system, averaged
over five seeds, with the standard error over them. `--docs` writes the table between the marks of
that file; everything goes to `benchmarks/results/simulator_theory.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.simulator import (
    Algorithm,
    Balancing,
    Case,
    Law,
    Outcome,
    RequestClass,
    Simulation,
    Station,
    Steps,
    Traffic,
    Work,
)

RESULT = Path(__file__).parent / "results" / "simulator_theory.json"
BEGIN, END = "<!-- theory: begin -->", "<!-- theory: end -->"
SEEDS = range(1, 6)


@dataclass(frozen=True)
class Row:
    system: str
    source: str
    measure: str
    theory: float
    measured: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.measured))

    @property
    def error(self) -> float:
        return float(np.std(self.measured, ddof=1) / math.sqrt(len(self.measured)))


def erlang_c(workers: int, rho: float) -> float:
    load = workers * rho
    head = sum(load**k / math.factorial(k) for k in range(workers))
    tail = load**workers / math.factorial(workers) / (1.0 - rho)
    return tail / (head + tail)


def mm_c(workers: int, rho: float) -> float:
    return 1.0 + erlang_c(workers, rho) / (workers * (1.0 - rho))


def felt(
    rho: float,
    requests: int,
    *,
    stations: int = 1,
    workers: int = 1,
    work: Work | None = None,
    algorithm: Algorithm = Algorithm.FULL_SCAN,
    sharing: bool = False,
    classes: tuple[RequestClass, ...] = (RequestClass(),),
    way_s: float = 0.0,
) -> list[dict[str, Outcome]]:
    rate = rho * stations * workers
    case = Case(
        "theory",
        tuple(Station(workers, sharing=sharing) for _ in range(stations)),
        Traffic(Steps.of(rate)),
        work or Work(1.0),
        1,
        duration_s=requests / len(SEEDS) / rate,
        timeout_s=math.inf,
        queue_limit=5000,
        balancing=Balancing(algorithm, eject_after=0),
        classes=classes,
        network_s=((way_s,),),
    )
    played = []
    for seed in SEEDS:
        run = Simulation(case, seed)
        run.advance(0.1 * case.duration_s)
        run.outcome()
        run.advance(case.duration_s)
        played.append(run.outcome_by_class())
    return played


def means(played: list[dict[str, Outcome]], name: str = "all") -> tuple[float, ...]:
    return tuple(one[name].mean_s for one in played)


def rows(n: int) -> Iterator[Row]:
    pk = "Pollaczek and Khinchine"
    for rho in (0.5, 0.8, 0.9):
        played = felt(rho, n)
        yield Row(f"M/M/1, load {rho}", "Erlang", "mean", 1.0 / (1.0 - rho), means(played))
        tail = tuple(one["all"].quantile_s(0.99) for one in played)
        yield Row(f"M/M/1, load {rho}", "Erlang", "p99", -math.log(0.01) / (1.0 - rho), tail)
    for c, rho in ((4, 0.8), (16, 0.9)):
        yield Row(
            f"M/M/{c}, load {rho}", "Erlang C", "mean", mm_c(c, rho), means(felt(rho, n, workers=c))
        )
    for law, scv in ((Law.DETERMINISTIC, 0.0), (Law.LOGNORMAL, 2.0), (Law.HYPEREXPONENTIAL, 4.0)):
        wanted = 1.0 + 0.7 / 0.3 * (1.0 + scv) / 2.0
        got = means(felt(0.7, n, work=Work(1.0, law, scv)))
        yield Row(f"M/G/1, {law}, load 0.7", pk, "mean", wanted, got)
    for law, scv in ((Law.EXPONENTIAL, 1.0), (Law.DETERMINISTIC, 0.0), (Law.HYPEREXPONENTIAL, 4.0)):
        got = means(felt(0.7, n, work=Work(1.0, law, scv), sharing=True))
        yield Row(f"M/G/1 processor sharing, {law}, load 0.7", "Kleinrock", "mean", 1.0 / 0.3, got)
    got = means(felt(0.8, n, workers=4, sharing=True))
    yield Row("M/M/4, workers shared, load 0.8", "Erlang C, Little", "mean", mm_c(4, 0.8), got)
    classes = (RequestClass("cheap", 0.9, 0.5), RequestClass("dear", 0.1, 5.5))
    played = felt(0.6, n, work=Work(1.0, Law.DETERMINISTIC), classes=classes)
    wait = 0.6 * (0.9 * 0.5**2 + 0.1 * 5.5**2) / 0.8
    for name, work in (("cheap", 0.5), ("dear", 5.5)):
        yield Row(f"M/G/1, two classes: {name}", pk, "mean", work + wait, means(played, name))
    got = means(felt(0.6, n, stations=8, algorithm=Algorithm.RANDOM))
    yield Row("8 x M/M/1, RANDOM, load 0.6", "Poisson splitting", "mean", 2.5, got)
    for rho in (0.7, 0.9):
        wanted = sum(rho ** (2**i - 2) for i in range(1, 12))
        got = means(felt(rho, n, stations=500, algorithm=Algorithm.LEAST_REQUEST))
        yield Row(f"500 x M/M/1, two choices, load {rho}", "Mitzenmacher", "mean", wanted, got)
    got = means(felt(0.8, n, stations=5, algorithm=Algorithm.LEAST_WORK))
    yield Row("5 x M/M/1, least work left, load 0.8", "is M/M/5", "mean", mm_c(5, 0.8), got)
    got = means(felt(0.6, n, way_s=0.35))
    yield Row("M/M/1 0.35 away, load 0.6", "Erlang, and the way", "mean", 2.5 + 0.7, got)


def table(done: list[Row]) -> str:
    lines = [
        "| system | source | measure | theory | simulated | gap |",
        "|---|---|---|---|---|---|",
    ]
    for row in done:
        gap = row.mean / row.theory - 1.0
        lines.append(
            f"| {row.system} | {row.source} | {row.measure} | {row.theory:.3f} | "
            f"{row.mean:.3f} ± {row.error:.3f} | {gap:+.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    done = []
    for row in rows(args.requests):
        done.append(row)
        print(table([row]).rpartition("\n")[2], flush=True)
    document = [
        {"system": r.system, "source": r.source, "measure": r.measure, "theory": round(r.theory, 4),
         "simulated": round(r.mean, 4), "standard_error": round(r.error, 4)}
        for r in done
    ]  # fmt: skip
    RESULT.write_text(json.dumps({"requests": args.requests, "rows": document}, indent=1) + "\n")
    if args.docs:
        text = args.docs.read_text()
        head, rest = text.split(BEGIN)
        args.docs.write_text(f"{head}{BEGIN}\n{table(done)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
