"""Requests without an end, to Envoys anywhere: minutes of the lab's open-loop load in a row."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controlplane.lab.load import play
from controlplane.lab.schedule import Arrivals, WorkMix, draw_schedule

LANE = "load"
ROUND_S = 60.0


@dataclass(frozen=True, slots=True)
class Minute:
    """What the requests of a round got."""

    requests: int
    errors: int
    mean_ms: float
    """Of the successes; NaN without any."""
    p99_ms: float


async def traffic(
    targets: Sequence[str], rate_rps: float, work: WorkMix, *, rounds: int | None = None
) -> AsyncIterator[Minute]:
    """Open-loop requests spread over `targets` (`host:port`), a round of a minute after another.

    `rounds` None: until the caller stops. Rounds are drawn from one seed each, 1, 2, 3, ...
    """
    arrivals = Arrivals(rate_rps)
    for seed in itertools.count(1) if rounds is None else range(1, rounds + 1):
        schedule = draw_schedule(seed, arrivals, work, duration_s=ROUND_S, envoys=len(targets))
        with tempfile.TemporaryDirectory(prefix="weir-load-") as folder:
            played = await play(schedule, {LANE: targets}, Path(folder))
        run = played.lanes[LANE]
        good = run.latency_s[run.good] * 1e3
        mean, p99 = (good.mean(), np.quantile(good, 0.99)) if len(good) else (np.nan, np.nan)
        errors = len(run.status) - len(good)
        yield Minute(len(run.status), errors, round(float(mean), 2), round(float(p99), 2))
