"""One run of a case: advance it, look at it, split its traffic."""

from __future__ import annotations

import numpy as np

from controlplane.model import Grouping
from policies.simulator import core
from policies.simulator.case import Case, endpoint_id, station_of
from policies.simulator.state import fresh
from policies.simulator.telemetry import Floats, Outcome, Telemetry, quantile


class Simulation:
    """Plays a case. The same case and seed meet every policy with the same requests."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self._state = fresh(case, seed)
        self._window_from_s = 0.0
        self._grouping: Grouping | None = None
        self._shares: Floats | None = None
        self.split(one_group(case, 0.0), np.ones(1))

    @property
    def now_s(self) -> float:
        """How far the run has come."""
        return float(self._state.now_s[0])

    def split(self, grouping: Grouping, shares: Floats) -> None:
        """Put weights in force: shares (g,) above 0 of the groups.

        With localities each balancer schedules groups by weight and picks inside a group as the
        case's algorithm does; otherwise each group's share is spread over its endpoints as endpoint
        weights. Endpoints that moved to another group are new hosts to Envoy: balancers forget
        what they have in flight there.
        """
        if shares.shape != (len(grouping.names),) or not np.all(shares > 0.0):
            raise ValueError("wanted a share above 0 for each group")
        same = self._grouping is not None and grouping.same_as(self._grouping)
        if same and self._shares is not None and np.array_equal(shares, self._shares):
            return
        s = self._state
        if not same:
            self._regroup(grouping)
        if grouping.by_locality:
            s.group_weight[: len(shares)] = shares
        else:
            each = shares[grouping.index] / grouping.sizes[grouping.index]
            stations = [station_of(one) for one in grouping.endpoints]
            s.host_weight[stations] = each / each.max()
            s.group_equal[0] = bool(np.ptp(each) <= 1e-9 * each.max())
        self._shares = shares.copy()
        core.restart(s)

    def _regroup(self, grouping: Grouping) -> None:
        s, before = self._state, self._grouping
        stations = np.array([station_of(one) for one in grouping.endpoints], np.int64)
        if grouping.by_locality:
            order = np.argsort(grouping.index, kind="stable")
            s.members[: len(stations)] = stations[order]
            s.group_from[: len(grouping.names) + 1] = [0, *np.cumsum(grouping.sizes)]
            s.options[2], s.options[3] = 1, len(grouping.names)
        else:
            s.members[: len(stations)] = stations
            s.group_from[:2] = [0, len(stations)]
            s.options[2], s.options[3] = 0, 1
            s.group_weight[0] = 1.0
        s.host_weight[:] = 1.0
        s.group_equal[:] = True
        if before is not None and before.by_locality and grouping.by_locality:
            was = dict(zip(before.endpoints, before.index.tolist(), strict=True))
            for one, station, group in zip(
                grouping.endpoints, stations.tolist(), grouping.index.tolist(), strict=True
            ):
                name = grouping.names[group]
                if one in was and before.names[was[one]] != name:
                    s.generation[station] += 1
                    s.in_flight[:, station] = 0
        self._grouping = grouping

    def advance(self, until_s: float) -> None:
        """Play on until a time."""
        core.advance(self._state, until_s, True)

    def drain(self) -> None:
        """Let all that has arrived end, with no more arrivals."""
        core.advance(self._state, np.inf, False)

    def telemetry(self) -> Telemetry:
        """What was seen since the last call, of the endpoints that the service has now."""
        s, now = self._state, self.now_s
        window = max(now - self._window_from_s, 1e-9)
        here = self.case.present(now)
        count = s.latency_count[here]
        with np.errstate(invalid="ignore", divide="ignore"):
            latency = np.where(count > 0, s.latency_sum_s[here] / count, np.nan)
        seen = Telemetry(
            at_s=now,
            window_s=window,
            endpoints=tuple(endpoint_id(i) for i in here.tolist()),
            succeeded=s.succeeded[here],
            failed=s.failed[here],
            in_flight=s.in_flight_s[here] / window,
            latency_s=latency,
            latency_p99_s=quantile(s.histogram[here], 0.99),
            latency_samples=count,
            utilisation=s.busy_s[here] / window / s.workers[here],
            proxies=self.case.proxies,
            workers=self.case.proxies * self.case.workers_per_proxy,
        )
        for counter in (s.succeeded, s.failed, s.in_flight_s, s.busy_s, s.latency_sum_s):
            counter[:] = 0.0
        s.latency_count[:] = 0.0
        s.histogram[:] = 0
        self._window_from_s = now
        return seen

    def outcome(self) -> Outcome:
        """What the requests that arrived since the last call get, be it later."""
        s = self._state
        result = Outcome(
            int(s.outcome[0]), int(s.outcome[1]), float(s.outcome[2]), s.outcome_histogram.copy()
        )
        s.outcome[:] = 0.0
        s.outcome_histogram[:] = 0
        return result

    def arrived(self) -> Floats:
        """(n,) requests that each station has been given since the start."""
        given = self._state.endpoint[: int(self._state.position[0])]
        return np.bincount(given, minlength=len(self.case.stations)).astype(np.float64)


def one_group(case: Case, at_s: float) -> Grouping:
    """All endpoints that the service has at a time, in one group."""
    ids = tuple(endpoint_id(i) for i in case.present(at_s).tolist())
    return Grouping(ids, ("all",), np.zeros(len(ids), np.intp))
