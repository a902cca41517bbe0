"""Open-loop load on several lanes at once, and what came of it.

The generator runs in a process of its own (`load_process`). Latency counts from the moment a
request was *scheduled*, so a slow answer never delays the next question and a late generator never
flatters a lane (no coordinated omission); how late it was is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controlplane.lab.backends import Backends, Event
from controlplane.lab.child import run_child
from controlplane.lab.results import Lag, LaneRun, Live, LiveLane, Played
from controlplane.lab.schedule import Schedule

DEADLINE_S = 10.0
"""An answer that takes longer is an error."""
READY_S = 60.0
"""How long the generator may take to start and to connect to every Envoy."""
LEAD_S = 0.5
"""From the order to start to the first request."""


async def play(
    schedule: Schedule,
    lanes: Mapping[str, Sequence[int | str]],
    folder: Path,
    *,
    backends: Backends | None = None,
    events: Sequence[Event] = (),
    deadline_s: float = DEADLINE_S,
    max_in_flight: int = 4096,
    on_start: Callable[[float], None] = lambda start_at_s: None,
    on_live: Callable[[Live], None] = lambda live: None,
) -> Played:
    """Play the schedule to every lane at the same time; a lane is the ports of its Envoys
    (or `host:port` where they are elsewhere).

    The events happen to the backends of every lane. `on_start` is told the schedule's time 0 on
    this machine's monotonic clock; the warm-up comes before it.
    """
    if events and backends is None:
        raise ValueError("events happen to backends: name them")
    first_s = float(schedule.at_s[0]) if len(schedule.at_s) else 0.0
    configuration = {
        "at_s": np.round(schedule.at_s, 6).tolist(),
        "work_us": np.round(schedule.work_s * 1e6).astype(int).tolist(),
        "envoy": schedule.envoy.tolist(),
        "lanes": {name: list(ports) for name, ports in lanes.items()},
        "until_s": schedule.until_s,
        "deadline_s": deadline_s,
        "max_in_flight": max_in_flight,
    }
    async with run_child(
        "controlplane.lab.load_process", folder, name="load", configuration=configuration
    ) as child:
        await child.receive(READY_S)
        start_at_s = time.monotonic() + LEAD_S - min(0.0, first_s)
        if backends is not None:
            await backends.script(events, start_at_s)
        await child.send({"start_at_s": start_at_s})
        on_start(start_at_s)
        while True:
            message = await child.receive(deadline_s + 30.0)
            if message["kind"] == "done":
                return _played(schedule, message)
            on_live(_live(message))


def _live(message: Mapping[str, Any]) -> Live:
    lanes = {name: LiveLane(**numbers) for name, numbers in message["lanes"].items()}
    return Live(message["at_s"], lanes, _lag(message["lag"]))


def _lag(numbers: Mapping[str, float]) -> Lag:
    return Lag(numbers["p50"], numbers["p99"], numbers["max"])


def _played(schedule: Schedule, message: Mapping[str, Any]) -> Played:
    counted = schedule.counted
    lanes = {}
    for name, columns in message["lanes"].items():
        micros = np.array(columns["latency_us"], dtype=np.float64)
        latency = np.where(micros >= 0, micros / 1e6, np.nan)[counted]
        status = np.array(columns["status"], dtype=np.int16)[counted]
        lanes[name] = LaneRun(schedule.at_s[counted], latency, status)
    return Played(lanes, _lag(message["lag"]))
