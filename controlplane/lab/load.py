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

from controlplane.lab.child import ChildError, run_child
from controlplane.lab.results import Lag, LaneRun, Live, LiveLane, Played
from controlplane.lab.schedule import Schedule

DEADLINE_S = 10.0
"""An answer that takes longer is an error."""


async def play(
    schedule: Schedule,
    lanes: Mapping[str, Sequence[int]],
    folder: Path,
    *,
    start_at_s: float | None = None,
    deadline_s: float = DEADLINE_S,
    max_in_flight: int = 4096,
    on_live: Callable[[Live], None] = lambda live: None,
) -> Played:
    """Play the schedule to every lane at the same time; a lane is the ports of its Envoys.

    `start_at_s` is the schedule's time 0 on this machine's monotonic clock, warm-up before it.
    """
    first_s = float(schedule.at_s[0]) if len(schedule.at_s) else 0.0
    if start_at_s is None:
        start_at_s = time.monotonic() + 1.5 - min(0.0, first_s)
    configuration = {
        "at_s": np.round(schedule.at_s, 6).tolist(),
        "work_us": np.round(schedule.work_s * 1e6).astype(int).tolist(),
        "envoy": schedule.envoy.tolist(),
        "lanes": {name: list(ports) for name, ports in lanes.items()},
        "start_at_s": start_at_s,
        "until_s": schedule.until_s,
        "deadline_s": deadline_s,
        "max_in_flight": max_in_flight,
    }
    async with run_child(
        "controlplane.lab.load_process", folder, name="load", configuration=configuration
    ) as child:
        while True:
            message = await child.receive(deadline_s + 30.0 + max(0.0, -first_s))
            if message["kind"] == "done":
                return _played(schedule, message)
            if message["kind"] == "late":
                raise ChildError("the load generator was not ready in time to start the run")
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
