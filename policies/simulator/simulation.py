"""One run of a case: advance it, look at it, split its traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model import Grouping
from policies.simulator import core
from policies.simulator.case import HASHED, Algorithm, Case, endpoint_id, station_of
from policies.simulator.hashing import maglev, ring
from policies.simulator.state import BIAS, GROUPS, LOCALITIES, WINDOW_FROM_S, fresh
from policies.simulator.telemetry import Floats, Outcome, Telemetry, quantile


class Simulation:
    """Plays a case. The same case and seed meet every policy with the same requests."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case = case
        self._state = fresh(case, seed)
        self._window_from_s = 0.0
        self._losses = np.random.Generator(np.random.PCG64([seed, 91]))
        self._grouping: Grouping | None = None
        self._shares: Floats | None = None
        self._proxies = np.bincount(case.proxies_of, minlength=len(case.regions))
        self._reporting = self._proxies
        self._lose()
        start = one_group(case, 0.0)
        self.split(start, np.ones(len(start.names)))

    @property
    def now_s(self) -> float:
        """How far the run has come."""
        return float(self._state.now_s[0])

    def split(self, grouping: Grouping, shares: Floats) -> None:
        """Put weights in force: shares (g,) above 0 of the groups, or (regions, g).

        With localities each balancer schedules groups by weight and picks inside a group as the
        case's algorithm does; otherwise each group's share is spread over its endpoints as endpoint
        weights. With a row for each region the proxies of each have their own. Endpoints that moved
        to another group are new hosts to Envoy: balancers forget what they have in flight there.
        """
        regions, g = len(self.case.regions), len(grouping.names)
        if shares.shape not in ((g,), (regions, g)) or not np.all(shares > 0.0):
            raise ValueError("wanted a share above 0 for each group, or for each in each region")
        same = self._grouping is not None and grouping.same_as(self._grouping)
        if same and self._shares is not None and np.array_equal(shares, self._shares):
            return
        s = self._state
        if not same:
            self._regroup(grouping)
        rows = np.broadcast_to(shares, (regions, g))
        stations = [station_of(one) for one in grouping.endpoints]
        each = rows[:, grouping.index] / grouping.sizes[grouping.index]
        if grouping.by_locality:
            s.group_weight[:, :g] = rows
        else:
            s.host_weight[:, stations] = each / each.max(axis=1, keepdims=True)
            s.group_equal[:, 0] = np.ptp(each, axis=1) <= 1e-9 * each.max(axis=1)
        if self.case.balancing.algorithm in HASHED:
            self._rehash(np.array(stations), each / each.sum(axis=1, keepdims=True))
        self._shares = shares.copy()
        core.restart(self._state)

    def _regroup(self, grouping: Grouping) -> None:
        s, before = self._state, self._grouping
        stations = np.array([station_of(one) for one in grouping.endpoints], np.int64)
        self._check_levels(grouping, s.level_of[stations])
        if grouping.by_locality:
            order = np.argsort(grouping.index, kind="stable")
            s.members[: len(stations)] = stations[order]
            s.group_from[: len(grouping.names) + 1] = [0, *np.cumsum(grouping.sizes)]
            s.options[LOCALITIES], s.options[GROUPS] = 1, len(grouping.names)
            s.group_level[grouping.index] = s.level_of[stations]
        else:
            s.members[: len(stations)] = stations
            s.group_from[:2] = [0, len(stations)]
            s.options[LOCALITIES], s.options[GROUPS] = 0, 1
            s.group_weight[:, 0] = 1.0
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

    def _check_levels(
        self, grouping: Grouping, level: np.ndarray[tuple[int], np.dtype[np.int64]]
    ) -> None:
        if not level.any():
            return
        if self.case.balancing.algorithm in HASHED or not grouping.by_locality:
            raise ValueError("priorities want groups that are localities, and no hashing")
        for g, name in enumerate(grouping.names):
            if np.ptp(level[grouping.index == g]) > 0:
                raise ValueError(f"group {name} has endpoints of several priorities")

    def _rehash(self, stations: np.ndarray[tuple[int], np.dtype[np.int64]], shares: Floats) -> None:
        rules = self.case.balancing
        if rules.algorithm is Algorithm.MAGLEV:
            tables = [maglev(stations, row, rules.table_size) for row in shares]
            made = [(np.zeros(len(one), np.uint64), one) for one in tables]
        else:
            made = [ring(stations, row, rules.ring_size) for row in shares]
        longest = max(len(hosts) for _, hosts in made)
        hashes = np.zeros((len(made), longest), np.uint64)
        owners = np.zeros((len(made), longest), np.int64)
        for x, (at, hosts) in enumerate(made):
            hashes[x, : len(at)], owners[x, : len(at)] = at, hosts
            self._state.ring_size[x] = len(at)
        self._state = self._state._replace(ring=hashes, ring_host=owners)

    def bias(self, bias: float) -> None:
        """Envoy's `active_request_bias` from here on; the schedules begin anew if it changes."""
        if bias != self._state.numbers[BIAS]:
            self._state.numbers[BIAS] = bias
            core.restart(self._state)

    def advance(self, until_s: float) -> None:
        """Play on until a time."""
        core.advance(self._state, until_s, True)

    def drain(self) -> None:
        """Let all that has arrived end, with no more arrivals."""
        core.advance(self._state, np.inf, False)

    def telemetry(self) -> Telemetry:
        """What was seen since the last call, of the endpoints that the service has now."""
        seen = self._whole()
        self._next_window()
        return seen

    def telemetry_by_region(self) -> tuple[Telemetry, ...]:
        """The same, apart for the proxies of each region."""
        seen = self._apart()
        self._next_window()
        return seen

    def telemetry_both(self) -> tuple[Telemetry, tuple[Telemetry, ...]]:
        """What the two above would say of the same time."""
        seen = self._whole(), self._apart()
        self._next_window()
        return seen

    def _whole(self) -> Telemetry:
        return self._telemetry(slice(None) if len(self.case.regions) > 1 else 0)

    def _apart(self) -> tuple[Telemetry, ...]:
        return tuple(self._telemetry(x) for x in range(len(self.case.regions)))

    def _telemetry(self, part: int | slice) -> Telemetry:
        """What the proxies of a region saw, or those of all."""
        s, now, here = self._state, self.now_s, self.case.present(self.now_s)
        window = max(now - self._window_from_s, 1e-9)

        def total(counter: NDArray[Any]) -> NDArray[Any]:
            rows = counter[part]
            return (rows if isinstance(part, int) else rows.sum(0))[here]

        count = total(s.latency_count)
        with np.errstate(invalid="ignore", divide="ignore"):
            latency = np.where(count > 0, total(s.latency_sum_s) / count, np.nan)
        there, reporting = int(self._proxies[part].sum()), int(self._reporting[part].sum())
        return Telemetry(
            at_s=now,
            window_s=window,
            endpoints=tuple(endpoint_id(i) for i in here.tolist()),
            succeeded=total(s.succeeded),
            failed=total(s.failed),
            in_flight=total(s.in_flight_s) / window,
            latency_s=latency,
            latency_p99_s=quantile(total(s.histogram).astype(np.int32, copy=False), 0.99),
            latency_samples=count,
            utilisation=s.busy_s[here] / window / s.workers[here],
            proxies=reporting,
            workers=reporting * self.case.workers_per_proxy,
            coverage=reporting / max(there, 1),
        )

    def _next_window(self) -> None:
        s = self._state
        for counter in (s.succeeded, s.failed, s.in_flight_s, s.busy_s, s.latency_sum_s):
            counter[:] = 0.0
        s.latency_count[:] = 0.0
        s.histogram[:] = 0
        self._window_from_s = s.numbers[WINDOW_FROM_S] = self.now_s
        self._lose()

    def _lose(self) -> None:
        """Whose reports of the window that begins will be lost."""
        if self.case.loss > 0.0:
            lost = self._losses.random(self.case.proxies) < self.case.loss
            self._state.lost[:] = lost
            of = np.array(self.case.proxies_of)[~lost]
            self._reporting = np.bincount(of, minlength=len(self.case.regions))

    def outcome(self) -> Outcome:
        """What the requests that arrived since the last call get, be it later.

        At endpoints that share their workers, and on the way to those that are far, that is not
        known yet; such requests count when it is.
        """
        return Outcome.together(self.outcome_by_class().values())

    def outcome_by_class(self) -> dict[str, Outcome]:
        """The same, apart for each class of requests."""
        s = self._state
        result = {
            one.name: Outcome(
                int(row[0]), int(row[1]), float(row[2]), histogram.copy(), float(row[3])
            )
            for one, row, histogram in zip(
                self.case.classes, s.outcome, s.outcome_histogram, strict=True
            )
        }
        s.outcome[:] = 0.0
        s.outcome_histogram[:] = 0
        return result

    def arrived(self) -> Floats:
        """(n,) requests that each station has been given since the start."""
        given = self._state.endpoint[: int(self._state.position[0])]
        return np.bincount(given, minlength=len(self.case.stations)).astype(np.float64)


def one_group(case: Case, at_s: float) -> Grouping:
    """All endpoints that the service has at a time, in one group, or in one for each priority."""
    here = case.present(at_s).tolist()
    ids = tuple(endpoint_id(i) for i in here)
    levels, index = np.unique([case.stations[i].priority for i in here], return_inverse=True)
    if len(levels) == 1:
        return Grouping(ids, ("all",), np.zeros(len(ids), np.intp))
    return Grouping(ids, tuple(f"priority-{level}" for level in levels.tolist()), index)
