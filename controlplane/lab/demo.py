"""`weir demo`: Weir beside stock Envoys, on this machine, under the same requests.

Starts everything, warms up, plays the scenario to every lane at once, tells what was measured, and
leaves nothing behind. The lanes share the machine, so what disturbs one disturbs all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from controlplane.errors import ConfigurationError
from controlplane.lab.backends import Backends, Counted, run_backends
from controlplane.lab.child import ChildError, raise_file_limit
from controlplane.lab.lanes import Lane, run_lane
from controlplane.lab.load import play
from controlplane.lab.report import Report
from controlplane.lab.results import Live, Played
from controlplane.lab.scenarios import SCENARIOS, Stage, scenario_named, stage
from controlplane.lab.stock import FULL_SCAN, LEAST_REQUEST
from controlplane.lab.view import Look, View, open_view
from controlplane.lab.weir import WeirServe, run_weir_lane
from controlplane.resources.problems import did_you_mean

WARMUP_S = 20.0
"""Played before the run and not counted: the guard moves nothing for the first 10 s of an
endpoint, and Weir learns what the backends can do."""
STOCK = {one.name: one for one in (LEAST_REQUEST, FULL_SCAN)}
LANES = ("weir", "least_request", "full_scan")


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """One demo."""

    duration_s: float = 60.0
    warmup_s: float = WARMUP_S
    policy: str = "learned"
    scenario: str = "demo"
    envoys: int = 12
    """In each lane."""
    rate_rps: float | None = None
    """Requests a second to each lane; None: what the scenario says."""
    seed: int = 1
    lanes: tuple[str, ...] = LANES

    def __post_init__(self) -> None:
        if not 1.0 <= self.duration_s <= 3600.0:
            raise ConfigurationError(f"duration {self.duration_s}: want 1 to 3600 seconds")
        if not 1 <= self.envoys <= 64:
            raise ConfigurationError(f"envoys {self.envoys}: want 1 to 64 in each lane")
        if self.rate_rps is not None and not 1.0 <= self.rate_rps <= 20_000.0:
            raise ConfigurationError(f"rate {self.rate_rps}: want 1 to 20000 requests a second")
        if not set(self.lanes) <= set(LANES) or not self.lanes:
            raise ConfigurationError(f"lanes {self.lanes}: want some of {', '.join(LANES)}")


@dataclass(slots=True)
class _Seen:
    """What is known while the run goes on."""

    live: Live | None = None
    counted: Counted | None = None
    explained: dict[str, Any] | None = None
    decided_by: Counter[str] = field(default_factory=Counter)
    """Ticks that were seen, by the policy that proposed."""
    weights: list[tuple[Any, ...]] = field(default_factory=list)
    """The weights in force, each time they were seen to have changed."""


async def run_demo(options: DemoOptions, view: View) -> Report:
    """Start, warm up, play, report. Raises `WeirError` when something cannot be started."""
    scenario = scenario_named(options.scenario)
    played_stage = stage(
        scenario,
        seed=options.seed,
        duration_s=options.duration_s,
        envoys=options.envoys,
        rate_rps=options.rate_rps,
        warmup_s=options.warmup_s,
    )
    with tempfile.TemporaryDirectory(prefix="weir-demo-") as temporary:
        folder = Path(temporary)
        async with (
            run_backends(
                scenario.backends, folder, lanes=options.lanes, seed=options.seed
            ) as backends,
            _lanes(options, backends, folder, view) as (lanes, served),
        ):
            seen = _Seen()
            view.started(played_stage, {lane.name: lane.title for lane in lanes}, backends.ports)
            over = asyncio.Event()
            watching = asyncio.create_task(_watch(backends, served, seen, over))
            try:
                played = await play(
                    played_stage.schedule,
                    {lane.name: lane.ports for lane in lanes},
                    folder,
                    backends=backends,
                    events=played_stage.events,
                    on_live=lambda live: _show(live, seen, view),
                )
            except BaseException:
                watching.cancel()
                await asyncio.wait({watching})
                raise
            over.set()
            await watching
            lag = await backends.lag_ms(30.0)
            return _report(options, played_stage, played, lanes, served, seen, lag)


def _show(live: Live, seen: _Seen, view: View) -> None:
    seen.live = live
    view.update(Look(live, seen.counted, seen.explained))


@contextlib.asynccontextmanager
async def _lanes(
    options: DemoOptions, backends: Backends, folder: Path, view: View
) -> AsyncIterator[tuple[list[Lane], WeirServe | None]]:
    """All lanes, ready. Weir comes last, so that it waits for nobody."""
    served: WeirServe | None = None
    lanes: list[Lane] = []
    async with contextlib.AsyncExitStack() as stack:
        for name in sorted(options.lanes, key=lambda one: one == "weir"):
            ports = backends.ports[name]
            view.say(f"starting {options.envoys} Envoys of lane {name}")
            if name == "weir":
                lane, served = await stack.enter_async_context(
                    run_weir_lane(ports, folder, envoys=options.envoys, policy=options.policy)
                )
            else:
                lane = await stack.enter_async_context(
                    run_lane(STOCK[name], ports, folder, envoys=options.envoys)
                )
            lanes.append(lane)
        yield sorted(lanes, key=lambda lane: LANES.index(lane.name)), served


async def _watch(
    backends: Backends, served: WeirServe | None, seen: _Seen, over: asyncio.Event
) -> None:
    """Once a second: what the backends count and what Weir decided."""
    while not over.is_set():
        with contextlib.suppress(ChildError):  # late, on a busy machine: the next look will do
            seen.counted = await backends.counters()
        if served is not None:
            seen.explained = await served.explain()
            if seen.explained is not None:
                seen.decided_by[str(seen.explained.get("policy"))] += 1
                weights = tuple(one.get("weight") for one in seen.explained.get("groups", ()))
                if not seen.weights or seen.weights[-1] != weights:
                    seen.weights.append(weights)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 1.0)


def _report(
    options: DemoOptions,
    stage_: Stage,
    played: Played,
    lanes: list[Lane],
    served: WeirServe | None,
    seen: _Seen,
    lag_ms: Mapping[str, float],
) -> Report:
    reasons = [
        f"an Envoy of lane {lane.name} ended during the run"
        for lane in lanes
        if any(envoy.process.returncode is not None for envoy in lane.envoys)
    ]
    if served is not None:
        reasons += _doubts(options, served, seen)
    facts = {
        "scenario": options.scenario,
        "seed": options.seed,
        "policy": options.policy,
        "decided_by": dict(seen.decided_by),
        "weights_changed": max(0, len(seen.weights) - 1),
        "duration_s": options.duration_s,
        "warmup_s": options.warmup_s,
        "envoys": options.envoys,
        "rate_rps": options.rate_rps or stage_.scenario.rate_rps,
        "events": [{"at_s": at, "text": text} for at, text in stage_.announcements],
    }
    titles = {lane.name: lane.title for lane in lanes}
    return Report.of(played, facts, titles, lag_ms, tuple(reasons))


def _doubts(options: DemoOptions, served: WeirServe, seen: _Seen) -> list[str]:
    """Why the Weir lane may not show the policy that was asked for."""
    if served.process is None or served.process.returncode is not None:
        return [f"weir serve ended during the run; its log ends: {served.tail()}"]
    looks = sum(seen.decided_by.values())
    if looks == 0:
        return ["weir serve told nothing of its decisions"]
    if seen.decided_by[options.policy] < looks / 2:
        deciders = ", ".join(f"{name} ({ticks})" for name, ticks in seen.decided_by.most_common())
        return [f"policy {options.policy} was asked for, but seen to decide were: {deciders}"]
    return []


def demo(
    duration: Annotated[float, typer.Option(help="Seconds that are measured.")] = 60.0,
    output: Annotated[
        Output, typer.Option(help="table, or json: one object as the last line of stdout.")
    ] = Output.TABLE,
    policy: Annotated[str, typer.Option(help="The policy of the Weir lane.")] = "learned",
    scenario: Annotated[str, typer.Option(help=f"One of {', '.join(SCENARIOS)}.")] = "demo",
    envoys: Annotated[int, typer.Option(help="Envoys in each lane, one worker each.")] = 12,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second to each lane. [280]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the arrivals; the same for every lane.")] = 1,
    warmup: Annotated[
        float, typer.Option(help="Seconds played before and not counted.")
    ] = WARMUP_S,
) -> None:
    """Real Envoys and real requests on this machine: Weir beside stock load balancing.

    Exit status 0: the run was valid; 3: it was not (the reasons say why).
    """
    known = entry_points(group="controlplane.policies").names
    if policy not in known:
        raise ConfigurationError(f"there is no policy {policy!r}; {did_you_mean(policy, known)}")
    options = DemoOptions(
        duration_s=duration,
        warmup_s=warmup,
        policy=policy,
        scenario=scenario,
        envoys=envoys,
        rate_rps=rate,
        seed=seed,
    )
    raise_file_limit()  # Envoys and the rest inherit it
    try:
        report = asyncio.run(_with_signals(options, Console(stderr=output is Output.JSON)))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except asyncio.CancelledError:
        raise typer.Exit(143) from None
    if output is Output.JSON:
        sys.stdout.write(json.dumps(report.to_json()) + "\n")
        sys.stdout.flush()
    if report.problems():
        raise typer.Exit(3)


async def _with_signals(options: DemoOptions, final: Console) -> Report:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: in order."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with open_view(final) as view:
        report = await run_demo(options, view)
        view.finished(report)
    return report
