"""Observations from the logs and load reports that this process receives itself.

A look at a service is a window: what was counted since the look before, and further back while
that covers less than one load report of every proxy. Reports of many proxies come at their own
times, so the window is measured in seconds that were reported, and not on our clock: `window_s` is
what the reports covered, for an average proxy. Then a late report changes no rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from controlplane.model import EndpointId, Observation, Service, ServiceName, Zone
from controlplane.model.observation import Floats
from controlplane.observe.access_logs import AccessLogs
from controlplane.observe.catalogue import Catalogue
from controlplane.observe.exposition import TrafficCollector
from controlplane.observe.histogram import latency_histograms
from controlplane.observe.load_reports import LoadReports
from controlplane.observe.members import Present, forget
from controlplane.observe.proxies import Proxies
from controlplane.observe.quantiles import Bins, Ints
from controlplane.observe.receipts import Receipts
from controlplane.observe.totals import Field, Totals, moved

MARKS = 4
"""Looks that a window can reach back over."""
WHOLE = 0.75
"""A window is long enough when it covers this part of a load report of every proxy."""
LIVE_INTERVALS = 2.5
"""A proxy is live when its last load report is at most this many intervals old."""
LONGEST_S = 120.0
"""A look that was taken longer ago begins no window: nobody was looking."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What was counted when a look was taken."""

    at_s: float
    reported_s: float
    counted: Floats
    bins: Bins
    """Latencies between the mark before and this one."""
    ended_at: Mapping[Zone, float] = field(default_factory=dict)
    sticky: int = 0
    timed_at: Mapping[Zone, Floats] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Windows:
    """The looks that were taken at one service."""

    totals: Totals
    marks: deque[Mark]
    last: Observation | None = None
    seen_s: float = -np.inf
    """`newest_s` of the totals at the last look."""


class InProcessSource:
    """A `MetricSource`, with the two sinks that feed it."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        report_interval_s: float = 1.0,
        custom_metrics: Iterable[str] = (),
    ) -> None:
        """`report_interval_s` is what the load reporting service asks the Envoys for."""
        self.receipts = Receipts()
        self.catalogue = Catalogue()
        self.proxies = Proxies()
        self._clock = clock
        self._interval_s = report_interval_s
        self._live_s = LIVE_INTERVALS * report_interval_s
        self._windows: dict[ServiceName, Windows] = {}
        self.access_logs = AccessLogs(
            self.catalogue, self.proxies, self.receipts, clock, self._live_s + 1.0
        )
        self.load_reports = LoadReports(
            self.catalogue, self.proxies, self.receipts, clock, report_interval_s, custom_metrics
        )
        self.collector = TrafficCollector(
            self.catalogue, self.proxies, self.receipts, clock, self._live_s
        )

    def declare(self, services: Iterable[Service]) -> None:
        """These are the services from now on; what else is reported is counted and ignored."""
        before = {one.service.name: one.endpoints for one in self.catalogue}
        now_s = self._clock()
        for name in self.catalogue.declare(services):
            totals, old = self.catalogue.get(name), self._windows.get(name)
            if totals is None:
                del self._windows[name]
            elif old is None or old.totals is not totals:
                start = Mark(now_s, 0.0, totals.counted.copy(), Bins.empty(), sticky=totals.sticky)
                self._windows[name] = Windows(totals, deque([start], maxlen=MARKS))
            else:
                self._windows[name] = _realigned(old, before[name])

    def latency_histograms(self) -> bytes:
        """Text for /metrics, to follow what `collector` gives."""
        return latency_histograms(self.catalogue)

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        """Look at these services; those nobody reported yet are absent."""
        now_s = self._clock()
        looks = {}
        for service in services:
            windows = self._windows.get(service.name)
            look = None if windows is None else self._look(windows, now_s)
            if windows is None or look is None:
                continue
            looks[service.name] = look
            if service.endpoints is not windows.totals.service.endpoints:
                ids = tuple(endpoint.id for endpoint in service.endpoints)
                if ids != look.endpoints:
                    looks[service.name] = look.for_endpoints(ids)
        return looks

    def rates_rps(self) -> list[float]:
        """Requests per second of each service, at its last look; 0 where nothing was seen."""
        looks = (windows.last for windows in self._windows.values())
        return [0.0 if look is None else float(np.nansum(look.rate_rps)) for look in looks]

    def _look(self, windows: Windows, now_s: float) -> Observation | None:
        totals = windows.totals
        if totals.newest_s == windows.seen_s:  # no news: the same look, ageing by its `at_s`
            newest = windows.marks[-1]
            windows.marks[-1] = replace(newest, at_s=now_s)
            return windows.last
        totals.fold()
        forget(totals.members, now_s)
        present = Present.of(totals.members, now_s, self._live_s)
        if now_s - windows.marks[-1].at_s > LONGEST_S:
            windows.marks = deque([_mark(totals, now_s)], maxlen=MARKS)
            windows.seen_s, windows.last = totals.newest_s, None
            return None
        at = self._begin(windows, present)
        begin, since = windows.marks[at], list(windows.marks)[at + 1 :]
        mark = _mark(totals, now_s)
        bins = Bins.merged([one.bins for one in (*since, mark)])
        windows.marks.append(mark)
        windows.seen_s = totals.newest_s
        windows.last = _observation(totals, begin, mark, bins, present)
        return windows.last

    def _begin(self, windows: Windows, present: Present) -> int:
        """The youngest mark that gives a window of one load report of every proxy."""
        wanted_s = WHOLE * self._interval_s * present.reporting
        for i in reversed(range(len(windows.marks))):
            if windows.totals.reported_s - windows.marks[i].reported_s >= wanted_s:
                return i
        return 0


def _mark(totals: Totals, now_s: float) -> Mark:
    bins, ended_at = totals.take_bins(), dict(totals.ended_at)
    counted = totals.counted.copy()
    timed_at = {place: rows.copy() for place, rows in totals.timed_at.items()}
    return Mark(now_s, totals.reported_s, counted, bins, ended_at, totals.sticky, timed_at)


def _observation(
    totals: Totals, begin: Mark, end: Mark, bins: Bins, present: Present
) -> Observation:
    n = len(totals.endpoints)
    grown = end.counted - begin.counted
    reported_s = end.reported_s - begin.reported_s
    proxies = max(1, present.reporting + present.logging)
    wall_s = max(end.at_s - begin.at_s, 1e-3)
    window_s = (reported_s + present.logging * wall_s) / proxies
    counts = present.reporting + present.logging > 0 and window_s > 0
    nothing = np.full(n, np.nan)
    in_flight = nothing
    if present.reporting and reported_s > 0:
        in_flight = grown[Field.IN_FLIGHT_S] * present.reporting / reported_s
    logged = float(grown[Field.LATENCY_SAMPLES].sum())
    heard_s = np.maximum(totals.logged_at_s, totals.reported_at_s)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Observation(
            service=totals.service.name,
            at_s=totals.newest_s,
            window_s=window_s if counts else wall_s,
            endpoints=totals.endpoints,
            succeeded=grown[Field.SUCCEEDED] if counts else nothing,
            failed=grown[Field.FAILED] if counts else nothing,
            in_flight=in_flight,
            latency_s=grown[Field.LATENCY_S] / grown[Field.LATENCY_SAMPLES],
            latency_p99_s=bins.quantile(0.99, n),
            latency_samples=grown[Field.LATENCY_SAMPLES],
            utilisation=grown[Field.UTILISATION] / grown[Field.UTILISATION_SAMPLES],
            age_s=np.where(np.isfinite(heard_s), totals.newest_s - heard_s, np.nan),
            proxies=proxies,
            workers=max(proxies, present.workers),
            coverage=proxies / (proxies + present.missing),
            sticky_share=min(1.0, (end.sticky - begin.sticky) / logged) if logged > 0 else 0.0,
            by_place={
                place: max(0.0, ended - begin.ended_at.get(place, 0.0))
                for place, ended in end.ended_at.items()
            },
            latency_by_place=_timed(begin, end),
        )


def _timed(begin: Mark, end: Mark) -> Mapping[Zone, Floats]:
    """Of what was counted between two marks: mean latencies and how many, by place."""
    found = {}
    for place, rows in end.timed_at.items():
        sums, samples = rows - begin.timed_at.get(place, 0.0)
        if samples.any():
            with np.errstate(invalid="ignore", divide="ignore"):
                found[place] = np.stack([sums / samples, samples])
    return found


def _realigned(windows: Windows, old_endpoints: tuple[EndpointId, ...]) -> Windows:
    """The same looks in the columns of the endpoints as they are declared now."""
    totals = windows.totals
    if totals.endpoints == old_endpoints:
        return windows
    now_at = {endpoint: i for i, endpoint in enumerate(totals.endpoints)}
    moves: Ints = np.array([now_at.get(old, -1) for old in old_endpoints], dtype=np.int64)
    n = len(totals.endpoints)
    windows.marks = deque(
        (
            replace(
                m,
                counted=moved(m.counted, moves, n, 0.0),
                bins=m.bins.moved(moves),
                timed_at={p: moved(rows, moves, n, 0.0) for p, rows in m.timed_at.items()},
            )
            for m in windows.marks
        ),
        maxlen=MARKS,
    )
    if windows.last is not None:
        windows.last = windows.last.for_endpoints(totals.endpoints)
    return windows
