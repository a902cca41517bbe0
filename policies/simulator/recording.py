"""What was recorded of a service: the numbers of each endpoint, window by window.

Two formats are read:

- **CSV**, one row for each window and endpoint, with the columns of `COLUMNS`; empty: not known.
- **JSON**, what a Prometheus answers (`/api/v1/query_range`) to Weir's own query of one service:
  a matrix whose series carry the label `weir`, which says what they are, and `endpoint`. Counts are
  rates there, and become counts of a step.
"""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from policies.simulator.case import Case
from policies.simulator.simulation import Simulation
from policies.simulator.state import Floats
from policies.simulator.trace import MOST

NUMBERS = ("succeeded", "failed", "in_flight", "latency_s", "latency_p99_s", "utilisation")
COLUMNS = ("at_s", "endpoint", *NUMBERS)
_SERIES = {
    "succeeded": "succeeded",
    "failed": "failed",
    "in_flight": "in_flight",
    "latency": "latency_s",
    "latency_p99": "latency_p99_s",
    "utilisation": "utilisation",
}
"""What Weir's query calls a field."""
MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Arrays (windows, endpoints), NaN where nothing is known."""

    endpoints: tuple[str, ...]
    window_s: float
    succeeded: Floats
    failed: Floats
    in_flight: Floats
    latency_s: Floats
    latency_p99_s: Floats
    utilisation: Floats

    def __post_init__(self) -> None:
        shape = self.succeeded.shape
        if self.window_s <= 0.0 or len(shape) != 2 or shape[1] != len(self.endpoints):
            raise ValueError("a recording has windows of some length, and numbers of each endpoint")
        if any(getattr(self, name).shape != shape for name in NUMBERS):
            raise ValueError("all numbers of a recording are of the same windows")
        for name in NUMBERS:
            if (getattr(self, name) < 0.0).any():
                raise ValueError(f"{name} has a number below 0")
        if not np.nansum(self.succeeded) > 0.0:
            raise ValueError("nothing in it succeeded")
        if self.ended.sum() > MOST:
            raise ValueError(f"it has more than {MOST} requests: take a part of it")

    @property
    def ended(self) -> Floats:
        """(windows, endpoints) requests that ended, well or not; 0 where nothing is known."""
        return np.nan_to_num(self.succeeded) + np.nan_to_num(self.failed)

    @property
    def mean_s(self) -> Floats:
        """(endpoints,) mean latency of all successes."""
        known = np.isfinite(self.latency_s)
        count = np.where(known, np.nan_to_num(self.succeeded), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                np.where(known, count * np.nan_to_num(self.latency_s), 0.0).sum(0) / count.sum(0)
            )

    def write(self, path: Path) -> None:
        """As CSV."""
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            for w in range(len(self.succeeded)):
                for i, endpoint in enumerate(self.endpoints):
                    numbers = [float(getattr(self, name)[w, i]) for name in NUMBERS]
                    cells = ["" if math.isnan(one) else repr(one) for one in numbers]
                    out.writerow([repr(self.window_s * (w + 1)), endpoint, *cells])

    @classmethod
    def read(cls, path: Path) -> Recording:
        """From a file. Raises `ValueError` that says what is wrong with it."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES} bytes")
            cells = _prometheus(path) if path.suffix == ".json" else _rows(path)
            return _recording(cells, rates=path.suffix == ".json")
        except (OSError, ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def of(cls, case: Case, seed: int, window_s: float = 1.0) -> Recording:
        """Of a simulated run, as its telemetry shows it. Endpoints are those of the start."""
        run = Simulation(case, seed)
        looks = []
        while run.now_s < case.duration_s - 1e-9:
            run.advance(min(run.now_s + window_s, case.duration_s))
            looks.append(run.telemetry())
        rows = {name: np.array([getattr(one, name) for one in looks]) for name in NUMBERS}
        return cls(tuple(looks[0].endpoints), window_s, **rows)


Cells = dict[tuple[float, str, str], float]
"""(time, endpoint, number) -> value."""


def _rows(path: Path) -> Cells:
    cells: Cells = {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = {"at_s", "endpoint", "succeeded", "latency_s"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        for row in reader:
            for name in NUMBERS:
                if row.get(name):
                    cells[float(row["at_s"]), row["endpoint"], name] = float(row[name])
    return cells


def _prometheus(path: Path) -> Cells:
    data = json.loads(path.read_text())["data"]
    if data["resultType"] != "matrix":
        raise ValueError("it is not a matrix: ask /api/v1/query_range")
    cells: Cells = {}
    services = set()
    for series in data["result"]:
        labels = series["metric"]
        name = _SERIES.get(labels.get("weir", ""))
        if name is None or not labels.get("endpoint"):
            continue
        services.add(labels.get("service", ""))
        for at, value in series["values"]:
            cells[float(at), str(labels["endpoint"]), name] = float(value)
    if len(services) > 1:
        raise ValueError(f"it has several services: {', '.join(sorted(services))}")
    return cells


def _recording(cells: Cells, *, rates: bool) -> Recording:
    times = sorted({at for at, _, _ in cells})
    endpoints = sorted({endpoint for _, endpoint, _ in cells})
    if len(times) < 2:
        raise ValueError("there are fewer than two windows in it")
    if not np.isfinite(times).all():
        raise ValueError("a window has no time, or an infinite one")
    window_s = float(np.median(np.diff(times)))
    row = {at: i for i, at in enumerate(times)}
    column = {endpoint: i for i, endpoint in enumerate(endpoints)}
    tables: dict[str, Floats] = defaultdict(lambda: np.full((len(times), len(endpoints)), np.nan))
    for (at, endpoint, name), value in cells.items():
        if value != math.inf:  # what Prometheus makes of a division by 0
            tables[name][row[at], column[endpoint]] = value
    if rates:
        for name in ("succeeded", "failed"):
            tables[name] *= window_s
    names = [one.name for one in fields(Recording) if one.name in NUMBERS]
    return Recording(tuple(endpoints), window_s, **{name: tables[name] for name in names})
