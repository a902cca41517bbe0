"""Arrivals that were recorded, to be replayed.

CSV with a header, or NPZ with arrays of the same names, in one of two forms:

- `at_s`, and `work_s` where it is known: one row for each request. Seconds from any origin, in
  order; work in seconds on a worker of speed 1.
- `count`: requests in each second, one row for each second in order (a column `second` is for
  people). Inside its second a request comes at random.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST = 50_000_000
"""Requests, or seconds, that a trace may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Either times of single requests or counts per second."""

    at_s: Floats | None = None
    """(r,) in order, the first at 0."""
    work_s: Floats | None = None
    """(r,) what each request costs, if known."""
    counts: NDArray[np.int64] | None = None
    """(seconds,) requests in each second."""

    def __post_init__(self) -> None:
        if (self.at_s is None) == (self.counts is None):
            raise ValueError("a trace has either times or counts")
        if self.at_s is not None and (len(self.at_s) == 0 or (np.diff(self.at_s) < 0.0).any()):
            raise ValueError("the times of a trace are some, and in order")
        if self.work_s is not None and (
            self.at_s is None or len(self.work_s) != len(self.at_s) or (self.work_s < 0.0).any()
        ):
            raise ValueError("a trace with work has it for each request, and none below 0")
        if self.counts is not None and (len(self.counts) == 0 or (self.counts < 0).any()):
            raise ValueError("the counts of a trace are some, and none is below 0")

    @classmethod
    def read(cls, path: Path) -> Trace:
        """From a file. Raises `ValueError` that says what is wrong with it."""
        try:
            columns = _npz(path) if path.suffix == ".npz" else _csv(path)
        except (ValueError, OSError, zipfile.BadZipFile, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from error
        for name, values in columns.items():
            if values.ndim != 1 or len(values) > MOST or not np.isfinite(values).all():
                raise ValueError(f"{path}: {name} is not one column of at most {MOST} numbers")
        try:
            if "at_s" in columns:
                at_s = columns["at_s"]
                return cls(at_s=at_s - at_s[:1].sum(), work_s=columns.get("work_s"))
            if "count" in columns:
                return cls(counts=columns["count"].astype(np.int64))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        raise ValueError(f"{path}: there is neither a column at_s nor one count")

    @property
    def duration_s(self) -> float:
        """From its beginning to its end."""
        if self.counts is not None:
            return float(len(self.counts))
        assert self.at_s is not None
        return float(self.at_s[-1])

    def arrivals(self, duration_s: float, random: np.random.Generator) -> Floats:
        """The times until `duration_s`."""
        if self.at_s is not None:
            return self.at_s[self.at_s < duration_s]
        assert self.counts is not None
        seconds = np.repeat(np.arange(len(self.counts)), self.counts)
        times = np.sort(seconds + random.random(len(seconds)))
        return times[times < duration_s]

    def write(self, path: Path) -> None:
        """As CSV, or as NPZ where the name says so."""
        given = {"at_s": self.at_s, "work_s": self.work_s, "count": self.counts}
        columns = {name: values for name, values in given.items() if values is not None}
        if path.suffix == ".npz":
            np.savez_compressed(path, **columns)  # type: ignore[arg-type]
            return
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(columns)
            out.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _npz(path: Path) -> dict[str, Floats]:
    with np.load(path, allow_pickle=False) as file:
        names = [name for name in ("at_s", "work_s", "count") if name in file]
        return {name: np.asarray(file[name], np.float64) for name in names}


def _csv(path: Path) -> dict[str, Floats]:
    with path.open(newline="") as file:
        header = next(csv.reader(file), [])
    wanted = [name for name in ("at_s", "work_s", "count") if name in header]
    if not wanted:
        return {}
    places = [header.index(name) for name in wanted]
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=places, ndmin=2, max_rows=MOST + 1)
    return dict(zip(wanted, table.T, strict=True))
