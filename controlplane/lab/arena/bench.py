"""`weir bench`: policies against Envoy's own balancing, on real Envoys, with intervals over seeds.

Exit status 0: every heat counted; 3: some did not (the machine was too busy, or something ended),
even after they were played again; what is shown is then of the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from controlplane.checkout import short
from controlplane.errors import ConfigurationError
from controlplane.lab.arena.contestants import CONTESTANTS, REFERENCE, USUAL, contestant_named
from controlplane.lab.arena.document import document, read_heats, write
from controlplane.lab.arena.draw import Room, heats
from controlplane.lab.arena.heat import Length, play_heat
from controlplane.lab.arena.made_by import here, of_lanes, warnings
from controlplane.lab.arena.results import Heat, MadeBy, late
from controlplane.lab.arena.suite import SUITE, of_suite
from controlplane.lab.arena.table import markdown, require_markers, stock_of, write_between
from controlplane.lab.arena.tally import Tally
from controlplane.lab.child import raise_file_limit
from controlplane.lab.results import BUSY_LAG_P99_MS, Live

ATTEMPTS = 2
"""A heat that does not count is played once more."""
QUICK = ("hardware-4x",)
QUICK_LANES = (REFERENCE, "least_request", "learned")
SAY_EVERY_S = 10.0


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Bench:
    """What is played."""

    scenarios: tuple[str, ...] = tuple(SUITE)
    lanes: tuple[str, ...] = USUAL
    seeds: int = 3
    first_seed: int = 1
    length: Length = Length()  # noqa: RUF009 - frozen
    most_late_ms: float = BUSY_LAG_P99_MS
    """A heat whose generator or backends were later at p99 does not count."""
    room: Room | None = None
    """None: what this machine has."""

    def __post_init__(self) -> None:
        for name in self.scenarios:
            of_suite(name)
        for name in self.lanes:
            contestant_named(name)
        if REFERENCE not in self.lanes or len(set(self.lanes)) != len(self.lanes):
            raise ConfigurationError(f"lanes {self.lanes}: want {REFERENCE}, and each once")
        if not 1 <= self.seeds <= 100 or not self.scenarios:
            raise ConfigurationError("want 1 to 100 seeds and a scenario")
        if not (5.0 <= self.length.duration_s <= 3600.0 and 0.0 <= self.length.warmup_s <= 600.0):
            raise ConfigurationError(f"{self.length}: want 5 to 3600 s after 0 to 600 s")
        if not self.most_late_ms > 0.0:
            raise ConfigurationError(f"--max-lag {self.most_late_ms:g}: want milliseconds above 0")

    def settings(self) -> dict[str, Any]:
        """What makes heats comparable: heats of other settings, or of a scenario that is another
        now, are not taken up again."""
        digests = {
            name: hashlib.sha256(repr(one).encode()).hexdigest()[:12] for name, one in SUITE.items()
        }
        return {**asdict(self.length), "scenarios": digests}

    def plan(self) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """(scenario, seed, lanes) of each heat. Seed by seed: a run that is cut short has whole
        seeds of everything rather than all seeds of something."""
        room = self.room or Room.of_this_machine()
        for seed in range(self.first_seed, self.first_seed + self.seeds):
            for name in self.scenarios:
                scenario = of_suite(name)
                for drawn in heats(
                    self.lanes, REFERENCE, room, rate_rps=scenario.rate_rps, envoys=scenario.envoys
                ):
                    yield name, seed, drawn

    def estimate_s(self) -> float:
        """About how long it takes: what is played, and half a second for each Envoy to start."""
        each = self.length.duration_s + self.length.warmup_s + 8.0
        return sum(
            each + 0.5 * of_suite(name).envoys * len(drawn) for name, _, drawn in self.plan()
        )


Play = Callable[..., Awaitable[Heat]]
"""`play_heat`, or what stands for it."""


async def run_bench(
    bench: Bench,
    console: Console,
    kept: Sequence[Heat] = (),
    to: Path | None = None,
    play: Play = play_heat,
    made_by: MadeBy = MadeBy(),  # noqa: B008 - frozen
) -> list[Heat]:
    """Play what is planned and not among `kept`, and return both, in the order of the plan.

    After each heat everything so far is written to `to`. `made_by`: what plays, as it was when the
    run began.
    """
    plan = list(bench.plan())
    done = {(one.scenario, one.seed, one.drawn) for one in kept}
    played = list(kept)
    for i, (name, seed, drawn) in enumerate(plan):
        if (name, seed, drawn) in done:
            continue
        console.print(
            f"heat {i + 1} of {len(plan)}: {name}, seed {seed}: {', '.join(drawn)}",
            highlight=False,
            soft_wrap=True,
        )
        heat = await _until_it_counts(bench, (name, seed, drawn), console, play)
        played.append(replace(heat, made_by=of_lanes(made_by, drawn)))
        if to is not None:
            write(_file(to, ".json"), played, bench.settings())
    order = {key: i for i, key in enumerate(plan)}
    last = len(plan)
    return sorted(played, key=lambda one: order.get((one.scenario, one.seed, one.drawn), last))


async def _until_it_counts(
    bench: Bench, what: tuple[str, int, tuple[str, ...]], console: Console, play: Play
) -> Heat:
    name, seed, drawn = what
    scenario = of_suite(name)
    for attempt in range(1, ATTEMPTS + 1):
        heat = await play(
            scenario,
            drawn,
            seed=seed,
            length=bench.length,
            envoys=scenario.envoys,
            attempt=attempt,
            most_late_ms=bench.most_late_ms,
            seconds=seed == bench.first_seed,
            on_live=_Lines(console),
        )
        for line in _told(heat):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
        if heat.valid:
            break
    return heat


class _Lines:
    """A line now and then while a heat goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = float("-inf")

    def __call__(self, live: Live) -> None:
        if live.at_s < self._next_s:
            return
        self._next_s = live.at_s + SAY_EVERY_S
        lanes = "; ".join(
            f"{name} {'-' if one.now_mean_ms is None else f'{one.now_mean_ms:.0f}'} ms"
            for name, one in live.lanes.items()
        )
        self._console.print(
            f"  {live.at_s:6.1f} s  {lanes}; generator late {live.lag.p99_ms:.1f} ms at p99",
            highlight=False,
            soft_wrap=True,
        )


def _told(heat: Heat) -> list[str]:
    if not heat.valid:
        return [f"does not count: {reason}" for reason in heat.reasons]
    base = heat.lanes[REFERENCE]
    lines = [f"{REFERENCE}: {base.mean_ms:.0f} / {base.p99_ms:.0f} ms"]
    for name, one in heat.lanes.items():
        if one.ratio is not None:
            mean, p99 = one.ratio["mean"], one.ratio["p99"]
            lines.append(f"{name}: {mean[0]:.2f} / {p99[0]:.2f} of it, {one.errors} errors")
    return lines


def facts(bench: Bench, played: Sequence[Heat], tally: Tally) -> str:
    """The sentence under the table."""
    counted = [one for one in played if one.valid]
    seeds = len({one.seed for one in counted})
    late = max((one.generator_lag_ms["p99"] for one in counted), default=0.0)
    itself = tally.repeats()
    again = (
        f"Where the reference played twice, its mean was {100 * itself['mean_median']:.1f} % (at "
        f"most {100 * itself['mean_most']:.1f} %) from itself, its p99 "
        f"{100 * itself['p99_median']:.1f} % (at most {100 * itself['p99_most']:.1f} %). "
        if itself
        else ""
    )
    ours = [
        f"{CONTESTANTS[lane].title} to {name}: {mean.value:.2f} ({mean.low:.2f} to "
        f"{mean.high:.2f}) in the mean, {p99.value:.2f} ({p99.low:.2f} to {p99.high:.2f}) in p99"
        for lane, name, other in _pairs(tally)
        if (mean := tally.overall(lane, "mean", other))
        and (p99 := tally.overall(lane, "p99", other))
    ]
    over_all = f"Over all scenarios alike: {'; '.join(ours)}. " if ours else ""
    return (
        f"{over_all}{seeds} seed{'s' * (seeds != 1)}, "
        f"{bench.length.duration_s:.0f} s each after "
        f"{bench.length.warmup_s:.0f} s of warm-up; {len(counted)} of {len(played)} heats count; "
        f"the generator was at most {late:.1f} ms late at p99. {again}Made by `weir bench`"
        f"{_at(counted)}."
    )


def _at(heats: Sequence[Heat]) -> str:
    """At which commits, in the order of the heats."""
    commits = dict.fromkeys(short(one.made_by.commit) for one in heats)
    told = [f"`{one}`" for one in commits if one]
    if told and "" in commits:
        told.append("others that were not kept")
    return f" at commit {' and '.join(told)}" if told else ""


def _pairs(tally: Tally) -> Iterator[tuple[str, str, Callable[[str], str | None]]]:
    """Our lanes and whom they have to beat."""
    stock = stock_of(tally.lanes)
    yield "learned", "the best stock lane of each", lambda name: tally.best(name, stock)
    yield "learned", CONTESTANTS["pid"].title, lambda name: "pid"
    yield "learned", CONTESTANTS["model"].title, lambda name: "model"


def bench(
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"Only this; repeatable. {', '.join(SUITE)}.")
    ] = None,
    lane: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this; repeatable. {', '.join(CONTESTANTS)}."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many.")] = 3,
    first_seed: Annotated[int, typer.Option(help="They count up from here.")] = 1,
    duration: Annotated[float, typer.Option(help="Seconds that are measured, of a heat.")] = 40.0,
    warmup: Annotated[float, typer.Option(help="Seconds played before and not counted.")] = 15.0,
    max_lag: Annotated[
        float,
        typer.Option(
            help="Milliseconds: a heat counts if generator and backends were not later at p99."
        ),
    ] = BUSY_LAG_P99_MS,
    quick: Annotated[
        bool, typer.Option("--quick", help="One scenario, one seed, three lanes: two minutes.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write TO.json, TO.md and TO.html; after each heat TO.json.")
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Put the table between the markers of this file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the valid heats of TO.json, play the rest.")
    ] = False,
    output: Annotated[
        Output, typer.Option(help="table, or json: one object as the last line of stdout.")
    ] = Output.TABLE,
) -> None:
    """Policies against Envoy's own balancing on real Envoys, on this machine.

    Exit status 0: every heat counted; 3: some did not (the reasons say why).
    """
    wanted = Bench(
        scenarios=tuple(scenario or (QUICK if quick else SUITE)),
        lanes=tuple(lane or (QUICK_LANES if quick else USUAL)),
        seeds=1 if quick else seeds,
        first_seed=first_seed,
        length=Length(duration, warmup),
        most_late_ms=max_lag,
    )
    if quick and to is not None:
        to = to.with_name(f"{to.name}-quick")
    if quick:
        readme = None
    _check_before(to, readme, resume)
    kept = read_heats(_file(to, ".json"), wanted.settings()) if resume and to else []
    kept = [one for one in kept if not late(one.generator_lag_ms, one.backend_lag_ms, max_lag)]
    made_by = here([*wanted.lanes, *(name for one in kept for name in one.drawn)])
    console = Console(stderr=True)
    for line in warnings(kept, made_by):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{len(list(wanted.plan()))} heats, about {wanted.estimate_s() / 60:.0f} minutes",
        highlight=False,
    )
    raise_file_limit()
    try:
        played = asyncio.run(_with_signals(wanted, console, kept, to, made_by))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(143) from None
    _tell(wanted, played, to, readme, output)
    if not all(one.valid for one in played):
        raise typer.Exit(3)


def _file(to: Path, ending: str) -> Path:
    """`with_suffix` would take the end of `v1.2` for one."""
    return to.with_name(to.name + ending)


def _check_before(to: Path | None, readme: Path | None, resume: bool) -> None:
    """What would fail at the end fails at the beginning."""
    if readme is not None:
        require_markers(readme)
    if resume and to is None:
        raise ConfigurationError("--resume wants --to: what is to be resumed")
    if to is not None:
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--to {to}: no folder for it: {error}") from error
    if to is not None and importlib.util.find_spec("matplotlib") is None:
        raise ConfigurationError("the report wants matplotlib: pip install 'weir[bench]'")


async def _with_signals(
    wanted: Bench, console: Console, kept: Sequence[Heat], to: Path | None, made_by: MadeBy
) -> list[Heat]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await run_bench(wanted, console, kept, to, made_by=made_by)


def _tell(
    wanted: Bench, played: Sequence[Heat], to: Path | None, readme: Path | None, output: Output
) -> None:
    tally = Tally(played, REFERENCE)
    table = markdown(tally, facts(wanted, played, tally))
    if to is not None:
        from controlplane.lab.arena.page import page  # matplotlib, where it is wanted

        write(_file(to, ".json"), played, wanted.settings())
        _file(to, ".md").write_text(table)
        _file(to, ".html").write_text(page(tally, table))
    if readme is not None:
        write_between(readme, table)
    if output is Output.JSON:
        sys.stdout.write(json.dumps(document(played, wanted.settings())) + "\n")
    else:
        sys.stdout.write(table)
    sys.stdout.flush()
