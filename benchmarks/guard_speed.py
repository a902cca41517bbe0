"""What the guard costs: 1,000 services of 100 endpoints, on one core.

    python benchmarks/guard_speed.py

Two kinds of weights (for each endpoint, and for three groups of endpoints) times two kinds of tick:
`moving`, in which every policy wants something quite different from what is in force, so that
every stage has work and every service is pushed; and `settled`, in which it wants what is there
with 1 % of noise. Seconds are CPU time of this process, the median of several ticks; one JSON
object on the last line.
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np

from controlplane.guard import Memory, check
from controlplane.model import (
    Endpoint,
    Estimate,
    Grouping,
    Observation,
    Proposal,
    Service,
    ServiceName,
    Situation,
)

SERVICES, ENDPOINTS, TICKS = 1000, 100, 9


def observation(service: Service, grouping: Grouping, at_s: float, seed: int) -> Observation:
    rng, n = np.random.default_rng(seed), len(grouping.endpoints)
    return Observation(
        service=service.name,
        at_s=at_s,
        window_s=1.0,
        endpoints=grouping.endpoints,
        succeeded=rng.poisson(50.0, n).astype(np.float64),
        failed=rng.poisson(0.1, n).astype(np.float64),
        in_flight=rng.uniform(1.0, 9.0, n),
        latency_s=rng.uniform(0.05, 0.08, n),
        latency_p99_s=rng.uniform(0.1, 0.2, n),
        latency_samples=np.full(n, 50.0),
        utilisation=rng.uniform(0.3, 0.8, n),
        age_s=np.zeros(n),
        proxies=4,
        workers=4,
    )


def tick(
    services: list[tuple[Service, Grouping]],
    memories: list[Memory | None],
    now_s: float,
    moving: bool,
) -> tuple[float, int]:
    """CPU seconds of the checks of one tick, and how many were pushed."""
    cases = []
    for i, (service, grouping) in enumerate(services):
        rng, groups = np.random.default_rng([i, int(now_s)]), len(grouping.names)
        memory = memories[i]
        shares = memory.shares if memory is not None else np.full(groups, 1.0 / groups)
        wanted = rng.dirichlet(np.full(groups, 5.0))
        if not moving:
            wanted = shares * rng.uniform(0.99, 1.01, groups)
        capacity = rng.uniform(100.0, 140.0, len(grouping.endpoints))
        situation = Situation(
            service,
            observation(service, grouping, now_s, i + SERVICES * int(now_s)),
            Estimate(grouping.endpoints, now_s, capacity),
            grouping,
            shares,
        )
        cases.append((situation, Proposal(wanted, "benchmark")))
    pushed, begun_s = 0, time.process_time()
    for i, (situation, proposal) in enumerate(cases):
        verdict, memories[i] = check(situation, proposal, memories[i], now_s)
        pushed += verdict.changed
    return time.process_time() - begun_s, pushed


def measure(by_locality: bool, moving: bool) -> dict[str, float | str]:
    services = []
    for i in range(SERVICES):
        service = Service(
            ServiceName(f"default/s{i}"),
            tuple(Endpoint(f"10.{i // 250}.{i % 250}.{j}", 80) for j in range(ENDPOINTS)),
        )
        ids = tuple(endpoint.id for endpoint in service.endpoints)
        grouping = (
            Grouping(ids, ("large", "medium", "small"), np.arange(ENDPOINTS) % 3)
            if by_locality
            else Grouping(ids, ids, np.arange(ENDPOINTS), by_locality=False)
        )
        services.append((service, grouping))
    memories: list[Memory | None] = [None] * SERVICES
    tick(services, memories, 1.0, moving)
    ticks = [tick(services, memories, 2.0 + t, moving) for t in range(TICKS)]
    return {
        "weights": "groups" if by_locality else "endpoints",
        "tick": "moving" if moving else "settled",
        "cpu_s": round(statistics.median(cpu_s for cpu_s, _ in ticks), 4),
        "pushed": statistics.median(pushed for _, pushed in ticks),
    }


def main() -> None:
    results = [measure(groups, moving) for groups in (True, False) for moving in (True, False)]
    for one in results:
        print(
            f"{one['weights']:>9} {one['tick']:>7}: {one['cpu_s']:.3f} s of CPU for {SERVICES} "
            f"services of {ENDPOINTS} endpoints, {one['pushed']:.0f} pushed"
        )
    print(json.dumps({"services": SERVICES, "endpoints": ENDPOINTS, "results": results}))


if __name__ == "__main__":
    main()
