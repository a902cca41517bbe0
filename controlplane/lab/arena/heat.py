"""One heat: some contestants side by side, on the same requests, each with backends of its own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.errors import WeirError
from controlplane.lab.arena.contestants import REFERENCE, contestant_named, run_contestant
from controlplane.lab.arena.results import Heat, doubts, lane_results
from controlplane.lab.backends import Backends, run_backends
from controlplane.lab.lanes import Lane
from controlplane.lab.load import play
from controlplane.lab.results import BUSY_LAG_P99_MS, Live, Played
from controlplane.lab.scenarios import Scenario, Stage, stage
from controlplane.lab.weir import WeirServe

STARTING_S = 300.0
"""What a heat may take beyond what is played."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long is played."""

    duration_s: float = 40.0
    warmup_s: float = 15.0
    """Before, and not counted: the guard moves nothing for the first 10 s of an endpoint, CSWRR
    waits as long, and Weir learns what the backends can do."""


async def play_heat(
    scenario: Scenario,
    names: Sequence[str],
    *,
    seed: int,
    length: Length,
    envoys: int,
    attempt: int = 1,
    most_late_ms: float = BUSY_LAG_P99_MS,
    seconds: bool = False,
    on_live: Callable[[Live], None] = lambda live: None,
) -> Heat:
    """Play it. What goes wrong makes a heat that does not count, and says why; it never raises
    `WeirError`."""
    made = stage(
        scenario,
        seed=seed,
        duration_s=length.duration_s,
        envoys=envoys,
        warmup_s=length.warmup_s,
    )
    unplayed = Heat(scenario.name, seed, {}, {}, {}, attempt=attempt, drawn=tuple(names))
    try:
        async with asyncio.timeout(length.duration_s + length.warmup_s + STARTING_S):
            with tempfile.TemporaryDirectory(prefix="weir-arena-") as folder:
                played, backend_lag, reasons = await _play(made, names, Path(folder), on_live)
    except WeirError as error:
        return replace(unplayed, reasons=(f"could not be played: {error}",))
    except TimeoutError:
        return replace(unplayed, reasons=(f"it had not ended {STARTING_S:.0f} s after its time",))
    lag = played.lag
    return replace(
        unplayed,
        lanes=lane_results(played, REFERENCE, seconds=seconds),
        generator_lag_ms={"p50": lag.p50_ms, "p99": lag.p99_ms, "max": lag.max_ms},
        backend_lag_ms=backend_lag,
        reasons=(*reasons, *doubts(played, backend_lag, most_late_ms)),
    )


async def _play(
    made: Stage, names: Sequence[str], folder: Path, on_live: Callable[[Live], None]
) -> tuple[Played, dict[str, float], list[str]]:
    """What was played, how late the backends were, and what else speaks against it."""
    contestants = [contestant_named(name) for name in names]
    first, envoys = made.members(-1.0), made.schedule.envoys
    async with contextlib.AsyncExitStack() as stack:
        backends = await stack.enter_async_context(
            run_backends(
                made.scenario.backends,
                folder,
                lanes=names,
                orca=[one.name for one in contestants if one.orca],
                seed=0,
            )
        )
        lanes: dict[str, Lane] = {}
        serving: dict[str, WeirServe] = {}
        for one in sorted(contestants, key=lambda one: one.stock is None):  # Weir waits for nobody
            ports = [backends.ports[one.name][i] for i in first]
            lane, served = await stack.enter_async_context(
                run_contestant(one, ports, folder, envoys=envoys, changing=bool(made.joins))
            )
            lanes[one.name] = lane
            if served is not None:
                serving[one.name] = served
        background = Background(made, backends, lanes, serving)
        try:
            played = await play(
                made.schedule,
                {name: lanes[name].ports for name in names},
                folder,
                backends=backends,
                events=made.events,
                on_start=background.start,
                on_live=on_live,
            )
        finally:
            await background.stop()
        late = await backends.lag_ms(30.0)
        return played, late, [*_ended(lanes), *background.doubts()]


def _ended(lanes: Mapping[str, Lane]) -> list[str]:
    return [
        f"an Envoy of lane {name} ended during the run"
        for name, lane in lanes.items()
        if any(envoy.process.returncode is not None for envoy in lane.envoys)
    ]


class Background:
    """What goes on while a heat is played: backends join, and Weir is asked who decides."""

    def __init__(
        self,
        made: Stage,
        backends: Backends,
        lanes: Mapping[str, Lane],
        serving: Mapping[str, WeirServe],
    ) -> None:
        self._made = made
        self._backends = backends
        self._lanes = lanes
        self._serving = serving
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: list[str] = []
        self._deciders: dict[str, Counter[str]] = {name: Counter() for name in serving}

    def start(self, start_at_s: float) -> None:
        """Time 0 of the schedule will be this moment of the monotonic clock."""
        self._tasks = [
            asyncio.create_task(self._join(start_at_s)),
            *(asyncio.create_task(self._watch(name)) for name in self._serving),
        ]

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self._failed.append(f"the script stopped: {task.exception()}")
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def doubts(self) -> list[str]:
        """Why a lane may not have shown what it was to show."""
        found = list(self._failed)
        for name, served in self._serving.items():
            wanted, deciders = contestant_named(name).policy, self._deciders[name]
            if served.process is None or served.process.returncode is not None:
                found.append(f"weir serve of lane {name} ended; its log ends: {served.tail()}")
            elif deciders[wanted] <= deciders.total() / 2:
                told = ", ".join(f"{who} ({n})" for who, n in deciders.most_common()) or "nobody"
                found.append(f"lane {name}: {wanted} was to decide, but seen to decide was {told}")
        return found

    async def _join(self, start_at_s: float) -> None:
        for at_s in sorted({at_s for at_s, _ in self._made.joins}):
            await asyncio.sleep(max(0.0, start_at_s + at_s - time.monotonic()))
            members = self._made.members(at_s)
            for name, lane in self._lanes.items():
                assert lane.assign is not None
                lane.assign([self._backends.ports[name][i] for i in members])

    async def _watch(self, name: str) -> None:
        while True:
            document = await self._serving[name].explain()
            if document is not None:
                self._deciders[name][str(document.get("policy"))] += 1
            await asyncio.sleep(1.0)
