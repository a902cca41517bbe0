"""A service as `weir sim calibrate` fitted it, to be played: stretches of its recording.

A recording is longer than what is played at a time, and has the loads that the service had. So a
run is a stretch of it, with its rates as they came, and with requests of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.simulator.calibrate import case_of
from policies.simulator.case import Case
from policies.simulator.demand import Traffic
from policies.simulator.steps import Steps
from policies.simulator.trace import MOST

MOST_BYTES = 16 * 2**20
"""Of a file. A day in windows of a second has 2 MB."""
FEWEST = 100.0
"""Requests that a stretch wants: with fewer its latencies say nothing."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scenario that was fitted, and how often it is drawn."""

    scenario: Mapping[str, Any]
    """The document of `weir sim calibrate`."""
    odds: float = 1.0
    """Relative to what else there is."""

    def __post_init__(self) -> None:
        if not 0.0 < self.odds < np.inf:
            raise ValueError(f"fitted: wanted odds above 0, got {self.odds}")
        _ = self.case  # what is none is refused here

    @property
    def name(self) -> str:
        """Of the service."""
        return str(self.scenario["name"])

    @property
    def digest(self) -> str:
        """Of its content, however it was written."""
        text = json.dumps(self.scenario, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def case(self) -> Case:
        """All of the recording. ValueError where the document is none."""
        try:
            case = case_of(self.scenario)
            _check(case)
            return case
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"no scenario of `weir sim calibrate`: {said}") from error

    def begins_s(self, duration_s: float) -> NDArray[np.float64]:
        """Where stretches of this length may begin. ValueError where there is none."""
        case, rate = self.case, self.case.traffic.rate_rps
        if case.duration_s < duration_s:
            raise ValueError(
                f"{self.name} was fitted to {case.duration_s:g} s, and {duration_s:g} s are played "
                "at a time: record more"
            )
        from_s = np.array(rate.from_s)
        ends_s = np.append(from_s[1:], max(case.duration_s, from_s[-1]))
        until = np.concatenate([[0.0], np.cumsum((ends_s - from_s) * np.array(rate.value))])
        begins = from_s[from_s + duration_s <= case.duration_s + 1e-9]
        edges = np.append(from_s, ends_s[-1])
        requests = np.diff(np.interp([begins, begins + duration_s], edges, until), axis=0)[0]
        if requests.max() > MOST:
            raise ValueError(f"{self.name} had {requests.max():.0f} requests in {duration_s:g} s")
        enough = begins[requests >= FEWEST]
        if not len(enough):
            raise ValueError(
                f"{self.name} never had {FEWEST:.0f} requests in {duration_s:g} s: nothing can be "
                "told of it"
            )
        return np.asarray(enough, np.float64)

    def stretch(self, begins_s: float, duration_s: float) -> Case:
        """So much of it, from there on."""
        case = self.case
        rate = case.traffic.rate_rps
        first = int(np.searchsorted(rate.from_s, begins_s, side="right")) - 1
        last = int(np.searchsorted(rate.from_s, begins_s + duration_s))
        times = tuple(max(0.0, at - begins_s) for at in rate.from_s[first:last])
        traffic = Traffic(Steps(times, rate.value[first:last]))
        return replace(case, traffic=traffic, duration_s=duration_s)


def _check(case: Case) -> None:
    """What the compiled event loop takes for granted."""
    if case.proxies < 1 or not case.stations:
        raise ValueError("wanted a proxy and an endpoint, or more")
    if not all(isinstance(one.workers, int) for one in case.stations):
        raise ValueError("workers: wanted a whole number")
    if not (0.0 < case.duration_s < np.inf and 0.0 < case.work.mean_s < np.inf):
        raise ValueError("duration_s and the mean of the work are numbers above 0")


def read(path: Path) -> dict[str, Any]:
    """The document in a file of `weir sim calibrate --to`. ValueError says what is wrong."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path} is larger than {MOST_BYTES} bytes: no scenario of ours")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror}; `weir sim calibrate --to` writes one"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: wanted a mapping, as `weir sim calibrate --to` writes one")
    try:
        Fitted(document)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return document
