"""What the upper levels of the hierarchy are worth on the simulator.

    python -m benchmarks.strategies [--steps 19968] [--cases 12]

Below is `model` alone, so that nothing but the strategy differs. For each of three seeds the upper
levels are trained; then on held-out cases each strategy alone, from the first second to the last,
and each learned choice play the same requests as the served default, which is the first strategy.
Ratios to it of the mean and the 99th percentile, geometric means over cases, with 95 % intervals by
bootstrap over services.

What was trained and what was played is kept in a folder of the code that did, so the same command
goes on where it was stopped, and with other code begins anew. Writes strategies.json in
benchmarks/results, with the commit, and the table of docs/agents/hierarchy.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import policies.agents
from controlplane.checkout import commit
from policies import fingerprint
from policies.env.draw import Draw, Drawn
from policies.env.strategy import STRATEGIES
from policies.simulator import TRAINING_FAMILIES, Size, scenario

RESULT = Path(__file__).parent / "results" / "strategies.json"
PAGE = Path(__file__).parents[1] / "docs" / "agents" / "hierarchy.md"
SCRATCH = Path("runs/strategies")
MARKS = ("<!-- strategies -->", "<!-- /strategies -->")
SEEDS = (1, 2, 3)
STEPS = 19_968
"""Sixteen episodes of 32 services."""
CASES = 12
"""Of each family."""
FIRST_SEED = 4_000_000
"""Of the cases: seeds of neither training, nor a choice of releases, nor another benchmark."""
TRAINED = Draw(families={**dict.fromkeys(TRAINING_FAMILIES, 1.0), "two_regions": 3.0})
FAMILIES = (
    "degradation", "mixed_costs", "sparse_50", "cold_caches", "lossy_telemetry", "phases",
    "three_regions", "slow_region",
)  # fmt: skip
"""Families that this training does not know."""
LOADS = (0.5, 0.7, 0.85)
SIZES = ((6, 4), (10, 32))
"""Endpoints and proxies."""
LEARNED = "learned, seed {}"
PLAIN = "endpoints"
"""The strategy that those with a bias differ from by it alone."""
HINDSIGHT = "best of each case, in hindsight"


def held_out(family: str, count: int) -> list[Drawn]:
    """So many cases of a family: sizes in turn, and of each the loads in turn."""
    drawn = []
    for i in range(count):
        endpoints, proxies = SIZES[i % len(SIZES)]
        load = LOADS[i // len(SIZES) % len(LOADS)]
        size = Size(endpoints=endpoints, proxies=proxies, load=load)
        seed = FIRST_SEED + i
        drawn.append((scenario(family, seed=seed, size=size), seed))
    return drawn


def place(scratch: Path) -> Path:
    """Where what this code trains and plays is kept."""
    agents = Path(str(policies.agents.__file__)).parent
    return scratch / fingerprint.code(agents, Path(__file__))


def trained(folder: Path, seed: int, steps: int) -> Any:  # noqa: ANN401 - a torch module
    """What each strategy is worth by the upper levels of this seed; read if it was trained."""
    import torch

    from policies.agents.hierarchy import HierarchyLearner
    from policies.agents.settings import Hierarchy
    from policies.env.simulated import Simulated

    settings = Hierarchy(slots=32, discount=0.9, low_part=0.0)
    learner = HierarchyLearner(settings, Simulated(TRAINED, discount=settings.discount), seed)
    kept = folder / f"seed-{seed}-{steps}.pt"
    learner.learn(0 if kept.exists() else steps, lambda *_: None)
    worth = learner.high.policy.q_net
    if kept.exists():
        worth.load_state_dict(torch.load(kept, weights_only=True))
    else:
        torch.save(worth.state_dict(), kept)
    return worth


@dataclass(frozen=True, slots=True)
class Row:
    """A case: logarithms of the ratios to the default, and how often what was chosen."""

    service: str
    mean: Mapping[str, float]
    p99: Mapping[str, float]
    chosen: Mapping[str, Sequence[float]]
    """(strategies,) parts of the seconds, of each learned choice."""


def played(family: str, count: int, choices: Mapping[str, Any]) -> list[Row]:
    """Every strategy alone and every learned choice, on the same requests."""
    import torch

    from policies.agents.hierarchy import InForce
    from policies.env.episodes import GROUPS
    from policies.env.paired import Paired

    drawn = held_out(family, count)
    names = [*(one.name for one in STRATEGIES), *choices]
    paired = Paired(TRAINED, len(drawn) * len(names), 0, len(names))
    place = np.arange(paired.slots) % len(names)
    in_force = InForce(paired.slots, len(STRATEGIES))
    how_often = np.zeros((paired.slots, len(STRATEGIES)))
    table, ended = paired.begin(drawn), False
    while not ended:
        actions = place.copy()
        told = in_force.told(table, paired.context)
        for number, worth in enumerate(choices.values(), len(STRATEGIES)):
            its = place == number
            with torch.no_grad():
                seen = {name: torch.from_numpy(part[its]) for name, part in told.items()}
                actions[its] = worth(seen).argmax(dim=1).numpy()
        in_force.change(actions)
        how_often[np.arange(paired.slots), in_force.chosen] += 1.0
        paired.arrange(in_force.chosen)
        table, _, ended = paired.step(np.zeros((paired.slots, GROUPS), np.float32))
    how_often /= how_often.sum(axis=1, keepdims=True)
    rows = []
    for i, (_, seed) in enumerate(drawn):
        own = slice(i * len(names), (i + 1) * len(names))
        pairs = dict(zip(names, paired.episodes[own], strict=True))
        rows.append(
            Row(
                f"{family}/{seed}",
                {name: float(np.log(a.mean_s / b.mean_s)) for name, (a, b) in pairs.items()},
                {
                    name: float(np.log(a.quantile_s(0.99) / b.quantile_s(0.99)))
                    for name, (a, b) in pairs.items()
                },
                {name: how_often[own][names.index(name)].round(4).tolist() for name in choices},
            )
        )
    return rows


def measured(folder: Path, steps: int, count: int) -> list[Row]:
    """All families; those that the journal has are not played again."""
    folder.mkdir(parents=True, exist_ok=True)
    choices = {}
    for seed in SEEDS:
        choices[LEARNED.format(seed)] = trained(folder, seed, steps)
        print(f"seed {seed} is ready", flush=True)
    journal = folder / f"played-{steps}-{count}.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    done = {one["family"]: one["rows"] for one in map(json.loads, lines)}
    for family in FAMILIES:
        if family not in done:
            rows = played(family, count, choices)
            done[family] = [
                {"service": r.service, "mean": r.mean, "p99": r.p99, "chosen": r.chosen}
                for r in rows
            ]
            with journal.open("a") as file:
                file.write(json.dumps({"family": family, "rows": done[family]}) + "\n")
        print(family, "was played", flush=True)
    return [Row(**row) for family in FAMILIES for row in done[family]]


def document(rows: Sequence[Row], steps: int) -> dict[str, Any]:
    """Of all families, and of each: the ratios of all; and how often what was chosen."""
    together = [_with_bound(_with_mean(row)) for row in rows]
    parts = {"all": together}
    for row in together:
        parts.setdefault(_family(row), []).append(row)
    return {
        "steps": steps,
        "seeds": list(SEEDS),
        "first_case": FIRST_SEED,
        "cases": len(rows),
        "ratios": {name: _ratios(part) for name, part in parts.items()},
        "beside": {
            one.name: _ratios([_over(row, "learned", one.name) for row in together])["learned"]
            for one in STRATEGIES
        },
        "bias": {
            one.name: _ratios([_over(row, one.name, PLAIN) for row in together])[one.name]
            for one in STRATEGIES
            if one.bias != 1.0
        },
        "chosen": {
            name: np.mean([list(row.chosen.values()) for row in part], axis=(0, 1))
            .round(4)
            .tolist()
            for name, part in parts.items()
        },
    }


def _with_mean(row: Row) -> Row:
    """`learned`: the mean over the seeds of training, beside each of them."""
    seeds = list(row.chosen)
    return replace(
        row,
        mean={**row.mean, "learned": float(np.mean([row.mean[one] for one in seeds]))},
        p99={**row.p99, "learned": float(np.mean([row.p99[one] for one in seeds]))},
    )


def _with_bound(row: Row) -> Row:
    """The strategy alone that was best in the mean on this case, which nobody knows before."""
    best = min((one.name for one in STRATEGIES), key=lambda name: row.mean[name])
    return replace(
        row,
        mean={**row.mean, HINDSIGHT: row.mean[best]},
        p99={**row.p99, HINDSIGHT: row.p99[best]},
    )


def _over(row: Row, ours: str, theirs: str) -> Row:
    """One alone, over another than the default."""
    return replace(
        row,
        mean={ours: row.mean[ours] - row.mean[theirs]},
        p99={ours: row.p99[ours] - row.p99[theirs]},
    )


def _family(row: Row) -> str:
    return row.service.partition("/")[0]


def _ratios(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """[geometric mean, lower, upper] by name and measure."""
    from policies.league.intervals import intervals

    names = list(rows[0].mean)
    clusters, strata = [row.service for row in rows], [_family(row) for row in rows]
    result: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for measure in ("mean", "p99"):
        logs = np.array([[getattr(row, measure)[name] for name in names] for row in rows])
        found = np.exp(intervals(logs, clusters, strata)).round(4).tolist()
        for name, one in zip(names, found, strict=True):
            result[name][measure] = one
    return result


def table(found: Mapping[str, Any]) -> str:
    """The tables of the page: over all; by family; what was chosen."""
    overall = found["ratios"]["all"]
    lines = ["| strategy | mean, of the default | p99 |", "|---|---|---|"]
    lines += [f"| {name} | {_cell(one['mean'])} | {_cell(one['p99'])} |"
              for name, one in overall.items()]  # fmt: skip
    names = [one.name for one in STRATEGIES[1:]]
    lines += ["", "| mean / p99 by family | " + " | ".join([*names, "learned"]) + " |"]
    lines += ["|---|" + "---|" * (len(names) + 1)]
    for family in FAMILIES:
        row = found["ratios"][family]
        cells = [f"{row[n]['mean'][0]:.2f} / {row[n]['p99'][0]:.2f}" for n in [*names, "learned"]]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    lines += ["", "| part of the seconds in % | " + " | ".join(s.name for s in STRATEGIES) + " |"]
    lines += ["|---|" + "---|" * len(STRATEGIES)]
    for family in FAMILIES:
        cells = [f"{100.0 * part:.0f}" for part in found["chosen"][family]]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(found: Mapping[str, Any]) -> str:
    """In words, by the intervals: beside the default, and beside the best strategy alone."""
    overall = found["ratios"]["all"]
    fixed = {one.name: overall[one.name]["mean"][0] for one in STRATEGIES}
    best = min(fixed, key=lambda name: fixed[name])
    default = STRATEGIES[0].name
    said = [f"The learned choice beside the served default {_judged(found['beside'][default])}."]
    if best != default:
        alone = f"the best strategy alone, `{best}`,"
        said.append(f"The learned choice beside {alone} {_judged(found['beside'][best])}.")
    seeds = [overall[LEARNED.format(seed)] for seed in found["seeds"]]
    winning = [sum(one[measure][2] < 1.0 for one in seeds) for measure in ("mean", "p99")]
    said.append(
        f"Of the seeds taken alone {winning[0]} of {len(seeds)} win against the default in the"
        f" mean, and {winning[1]} in p99."
    )
    said += [f"`{name}` beside `{PLAIN}` {_judged(one)}." for name, one in found["bias"].items()]
    return (
        f"On {found['cases']} held-out cases, after {found['steps']:,} steps of each seed of"
        " training:\n\n" + "\n".join(f"- {one}" for one in said)
    )


def _judged(one: Mapping[str, Sequence[float]]) -> str:
    (_, low, high), (_, p99_low, p99_high) = one["mean"], one["p99"]
    mean = f"{_word(low, high)} in the mean ({_cell(one['mean'])})"
    return f"{mean} and {_word(p99_low, p99_high)} in p99 ({_cell(one['p99'])})"


def _word(low: float, high: float) -> str:
    return "wins" if high < 1.0 else "loses" if low > 1.0 else "cannot be told from it"


def _cell(one: Sequence[float]) -> str:
    return f"{one[0]:.3f} [{one[1]:.3f}, {one[2]:.3f}]"


def write(found: Mapping[str, Any]) -> None:
    """The result, and the part of the page between its marks."""
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    PAGE.write_text(f"{before}{MARKS[0]}\n{verdict(found)}\n\n{table(found)}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cases", type=int, default=CASES, help="of each family")
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    parser.add_argument("--no-docs", action="store_true", help="print the tables alone")
    args = parser.parse_args()
    made_by = commit()
    rows = measured(place(args.scratch), args.steps, args.cases)
    found = {"commit": made_by, **document(rows, args.steps)}
    if not args.no_docs:
        write(found)
    print(verdict(found), table(found), sep="\n\n")


if __name__ == "__main__":
    main()
