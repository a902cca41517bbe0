"""Random lives of services before the guard: broken policies, lying numbers, churn, restarts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controlplane.guard import Freshness, Memory, check, resumed
from controlplane.model import (
    Endpoint,
    Estimate,
    Grouping,
    GuardSettings,
    LastGood,
    Observation,
    Proposal,
    Service,
    ServiceName,
    Situation,
)
from controlplane.model.observation import Floats
from tests.properties.guard_promises import promise

SPECIAL = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 5e-324, 1e-12, 1.0])
ALL = [
    Endpoint(f"10.0.0.{i}", 80, labels={} if i % 3 else {"weir.dev/capacity": str(i)})
    for i in range(1, 41)
]


class RandomLife:
    """One service; each `check` is a tick, and one generated vector."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.declared = bool(rng.random() < 0.3)
        self.by_locality = bool(rng.random() < 0.5)
        self.largest = int(rng.choice([1, 2, 3, 4, 8, 8, 16]))
        self.service = Service(ServiceName("default/s"), (), guard=self._settings())
        self.memory: Memory | None = None
        self.now_s = float(rng.uniform(0, 1e6))
        self.seen: Observation | None = None
        self._declare()

    def check(self) -> None:
        """One tick; fails when the guard breaks a promise."""
        rng = self.rng
        self._live()
        situation = Situation(
            self.service,
            self._look(),
            self._estimate(),
            self.grouping,
            np.zeros(len(self.grouping.names)),
        )
        proposal = Proposal(self._wish(len(self.grouping.names)), "random")
        frozen = "stop" if rng.random() < 0.03 else None
        before = self.memory
        verdict, self.memory = check(situation, proposal, before, self.now_s, frozen=frozen)
        promise(before, situation, proposal, frozen, verdict, self.memory)

    def _live(self) -> None:
        """Time passes, and sometimes something happens."""
        rng = self.rng
        self.now_s += float(rng.choice([1.0, 1.0, 1.0, 1.0, 0.3, 5.0, 40.0, 400.0]))
        event = rng.random()
        if event < 0.05:
            self._declare()
        elif event < 0.10:
            self.grouping = self._group()
        elif event < 0.12 and self.memory is not None:
            self._restart(self.memory)
        elif event < 0.13:
            self.service = replace(self.service, guard=self._settings())

    def _restart(self, memory: Memory) -> None:
        last = LastGood(
            self.service.name, memory.grouping, memory.shares, memory.weights, "random", 1e9
        )
        self.memory = resumed(last, self.now_s)
        assert self.memory.freshness == Freshness(since_s=self.now_s)

    def _settings(self) -> GuardSettings:
        rng = self.rng
        if rng.random() < 0.6:
            return GuardSettings()
        down = float(rng.uniform(0.5, 1.0))
        return GuardSettings(
            frozen=bool(rng.random() < 0.05),
            min_ratio=float(rng.uniform(0.01, 1.0)),
            max_ratio=float(rng.uniform(1.0, 10.0)),
            max_share=float(rng.uniform(0.2, 1.0)),
            step_down=down,
            step_up=float(rng.uniform(1.0, 2.0)),
            step_points=float(rng.uniform(0.0, 1.0)),
            step_down_sick=down * float(rng.uniform(0.2, 1.0)),
            hold_below=float(rng.uniform(0.0, 0.1)),
            warmup_s=float(rng.choice([0.0, 1.0, 30.0])),
            crowd=float(rng.uniform(1.0, 5.0)),
        )

    def _declare(self) -> None:
        """Other endpoints: one more, one less, or quite others."""
        rng = self.rng
        chosen = list(self.service.endpoints)
        kind = rng.random()
        if not chosen or kind < 0.3:
            n = int(rng.integers(0 if rng.random() < 0.1 else 1, self.largest + 1))
            chosen = [ALL[i] for i in rng.choice(len(ALL), n, replace=False)]
        elif kind < 0.65:
            chosen.pop(int(rng.integers(len(chosen))))
        else:
            free = [one for one in ALL if one not in chosen]
            chosen.append(free[int(rng.integers(len(free)))])
        if not self.declared:
            chosen = [Endpoint(one.address, one.port) for one in chosen]
        self.service = replace(self.service, endpoints=tuple(dict.fromkeys(chosen)))
        self.grouping = self._group()

    def _group(self) -> Grouping:
        ids = [endpoint.id for endpoint in self.service.endpoints]
        n = len(ids)
        if self.rng.random() < 0.3:
            self.rng.shuffle(ids)
        names = tuple(ids)
        if not self.by_locality or n == 0:
            return Grouping(names, names, np.arange(n, dtype=np.intp), by_locality=False)
        groups = int(self.rng.integers(1, min(n, 4) + 1))
        index = np.concatenate([np.arange(groups), self.rng.integers(0, groups, n - groups)])
        self.rng.shuffle(index)
        return Grouping(names, tuple("abcd"[:groups]), index.astype(np.intp))

    def _wish(self, n: int) -> Floats:
        """What a policy might propose: sound, extreme, or broken."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.35:
            return (
                rng.dirichlet(np.full(n, float(rng.choice([0.1, 1.0, 20.0])))) if n else np.ones(0)
            )
        if kind < 0.45:
            return np.eye(n)[int(rng.integers(n))] if n else np.ones(0)
        if kind < 0.60 and self.memory is not None and len(self.memory.shares) == n:
            return self.memory.shares * rng.uniform(0.9, 1.1, n)
        if kind < 0.65 and self.memory is not None:
            return self.memory.shares
        if kind < 0.75:
            return rng.uniform(0, 10.0 ** float(rng.integers(-300, 300)), n)
        if kind < 0.80:
            return np.ones(max(0, n + int(rng.integers(-1, 2))))
        wish = rng.uniform(0, 1, n)
        return np.where(rng.random(n) < 0.4, rng.choice(SPECIAL, n), wish)

    def _look(self) -> Observation:
        rng = self.rng
        ids = tuple(endpoint.id for endpoint in self.service.endpoints)
        kind = rng.random()
        if kind < 0.05 and self.seen is not None:
            return self.seen  # an old look, perhaps of other endpoints
        if kind < 0.10:
            return Observation.unknown(self.service.name, ids, self.now_s)
        n = len(ids)
        seen = Observation(
            service=self.service.name,
            at_s=self.now_s - float(rng.choice([0.0, 0.5, 1.9, 3.0], p=[0.7, 0.1, 0.1, 0.1])),
            window_s=float(rng.choice([1.0, 5.0, 0.0], p=[0.9, 0.09, 0.01])),
            endpoints=ids,
            succeeded=rng.poisson(50.0, n).astype(np.float64),
            failed=rng.poisson(float(rng.choice([0.0, 0.0, 1.0, 20.0])), n).astype(np.float64),
            in_flight=rng.uniform(0, 20, n),
            latency_s=rng.lognormal(-3.0, float(rng.choice([0.1, 1.0])), n),
            latency_p99_s=rng.uniform(0.1, 1.0, n),
            latency_samples=np.full(n, 10.0),
            utilisation=rng.uniform(0, 1, n),
            age_s=rng.choice([0.0, 0.0, 0.0, 0.0, 40.0], n),
            proxies=int(rng.integers(1, 20)),
            coverage=float(rng.choice([1.0, 0.6, 0.2, np.nan], p=[0.85, 0.05, 0.05, 0.05])),
        )
        if rng.random() < 0.2:  # lies and gaps
            for values in (seen.succeeded, seen.failed, seen.latency_s, seen.age_s):
                hit = rng.random(n) < 0.3
                values[hit] = rng.choice(SPECIAL, int(hit.sum()))
        self.seen = seen
        return seen

    def _estimate(self) -> Estimate:
        rng = self.rng
        ids = tuple(endpoint.id for endpoint in self.service.endpoints)
        if rng.random() < 0.3:
            return Estimate.unknown(ids)
        capacity = rng.uniform(20.0, 200.0, len(ids))
        if rng.random() < 0.2:
            hit = rng.random(len(ids)) < 0.4
            capacity[hit] = rng.choice(SPECIAL, int(hit.sum()))
        if rng.random() < 0.5 or not ids:
            return replace(Estimate.unknown(ids), at_s=self.now_s, capacity_rps=capacity)
        made = Estimate.unknown(ids)  # as looks make one: with a forecast, and guesses
        with np.errstate(all="ignore"):
            for at_s in (self.now_s - 2.0, self.now_s - 1.0):
                busy = rng.uniform(0.05, 5.0, len(ids))
                seen = replace(
                    Observation.unknown(self.service.name, ids, at_s),
                    window_s=1.0,
                    succeeded=capacity * rng.uniform(0.1, 1.0),
                    failed=np.zeros(len(ids)),
                    in_flight=busy,
                    latency_s=busy / capacity,
                    latency_samples=capacity,
                    age_s=np.zeros(len(ids)),
                )
                made = made.fold(seen)
        return made


def live(seed: int, ticks: int) -> None:
    """One life; fails when a promise is broken, naming the seed."""
    life = RandomLife(np.random.default_rng(seed))
    for tick in range(ticks):
        try:
            life.check()
        except Exception as broken:
            broken.add_note(f"in life {seed}, tick {tick}")
            raise
