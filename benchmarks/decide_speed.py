"""How long one decision takes for 1,000 services of 100 endpoints, on one core.

    python -m benchmarks.decide_speed [--services 1000] [--endpoints 100] [--policies model,learned]

First the released model alone in ONNX Runtime: with a row for each endpoint, and with three groups
for each service. Then the whole.

Each tick brings a new look at every service. The clock runs over `Decider.decide` (fold, group,
propose, roll out) and over the guard's `check` of every proposal; the making of the looks is not
counted. The median of the ticks after a warm-up is printed and written to
`benchmarks/results/decide_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from controlplane.decide import Asked, Decider, Memory, Policies
from controlplane.decide.learned import released
from controlplane.decide.manifest import INPUT
from controlplane.guard import Memory as GuardMemory
from controlplane.guard import check, shares_in_force
from controlplane.model import (
    Actuation,
    Endpoint,
    Grouping,
    Observation,
    Service,
    ServiceName,
)
from controlplane.model.features import CUT, FEATURES
from controlplane.model.observation import Floats
from controlplane.model.queues import queueing
from policies.training.asked import session

RESULT = Path(__file__).parent / "results" / "decide_speed.json"
WARM_UP = 6
SERVERS = 4.0
SERVICE_S = 0.02


@dataclass
class World:
    """So many services, each with endpoints of three kinds, at 70 % of their capacity."""

    services: list[Service]
    capacity: Floats
    random: np.random.Generator

    @classmethod
    def of(cls, count: int, endpoints: int, policy: str, actuation: Actuation) -> World:
        random = np.random.default_rng(7)
        hosts = tuple(Endpoint(f"10.0.{i // 250}.{i % 250 + 1}", 8080) for i in range(endpoints))
        services = [
            # A copy of the tuple: each service has endpoints of its own, as it would in life.
            Service(
                ServiceName(f"bench/s{i}"),
                tuple(replace(host) for host in hosts),
                policy=policy,
                actuation=actuation,
            )
            for i in range(count)
        ]
        speed = random.choice((0.5, 1.0, 2.0), (count, endpoints))
        return cls(services, SERVERS / SERVICE_S * speed, random)

    def looks(self, at_s: float, shares: list[Floats]) -> list[Observation]:
        demand = 0.7 * self.capacity.sum(axis=1)
        rate = np.minimum(np.stack(shares) * demand[:, None], 0.97 * self.capacity)
        base_s = SERVERS / self.capacity
        wait = np.array([queueing(r, SERVERS) for r in rate / self.capacity])
        count = self.random.poisson(rate).astype(np.float64)
        latency = base_s * (1.0 + wait)
        latency = latency * self.random.normal(1.0, 0.1, latency.shape).clip(0.5)
        unknown = np.full(count.shape[1], np.nan)
        zero = np.zeros(count.shape[1])
        return [
            Observation(
                service=service.name,
                at_s=at_s,
                window_s=1.0,
                endpoints=tuple(endpoint.id for endpoint in service.endpoints),
                succeeded=count[i],
                failed=zero,
                in_flight=rate[i] * latency[i],
                latency_s=latency[i],
                latency_p99_s=latency[i] * 3.0,
                latency_samples=count[i],
                utilisation=unknown,
                age_s=zero,
                proxies=12,
                workers=12,
            )
            for i, service in enumerate(self.services)
        ]


def measure(
    count: int, endpoints: int, policy: str, actuation: Actuation, ticks: int
) -> dict[str, object]:
    world = World.of(count, endpoints, policy, actuation)
    decider = Decider(Policies.installed())
    memories: dict[str, Memory] = {}
    guards: dict[str, GuardMemory] = {}
    shares = [np.full(endpoints, 1.0 / endpoints) for _ in world.services]
    decide_s, guard_s = [], []
    reasons: set[str] = set()
    for tick in range(WARM_UP + ticks):
        now_s = 1.0 + tick
        looks = world.looks(now_s, shares)
        asked = [
            Asked(service, look, memories.get(service.name))
            for service, look in zip(world.services, looks, strict=True)
        ]

        def in_force(service: Service, grouping: Grouping, now_s: float = now_s) -> Floats:
            return shares_in_force(service, guards.get(service.name), grouping, now_s)

        begun = time.process_time()
        decided = decider.decide(asked, now_s, in_force)
        halfway = time.process_time()
        checked = [
            check(d.situation, d.proposal, guards.get(d.situation.service.name), now_s)
            for d in decided
        ]
        ended = time.process_time()
        for i, (d, (verdict, memory)) in enumerate(zip(decided, checked, strict=True)):
            memories[d.situation.service.name] = d.memory
            guards[d.situation.service.name] = memory
            grouping = verdict.grouping
            shares[i] = verdict.shares[grouping.index] / grouping.sizes[grouping.index]
            reasons |= {reason.code for reason in d.reasons}
        if tick >= WARM_UP:
            decide_s.append(halfway - begun)
            guard_s.append(ended - halfway)
    return {
        "policy": policy,
        "actuation": actuation.value,
        "groups": statistics.mean(len(d.situation.grouping.names) for d in decided),
        "decide_s": round(statistics.median(decide_s), 4),
        "guard_s": round(statistics.median(guard_s), 4),
        "total_s": round(statistics.median(map(sum, zip(decide_s, guard_s, strict=True))), 4),
        "fell_back": sorted(reasons),
    }


def inference(services: int, groups: int, ticks: int) -> dict[str, object]:
    """CPU seconds of the installed model for (services x groups) rows: one run, on one thread."""
    model = session((released("learned") / "model.onnx").read_bytes())
    random = np.random.default_rng(7)
    table = random.normal(size=(services, groups, len(FEATURES))).clip(-CUT, CUT).astype(np.float32)
    table[:, :, -1] = 1.0
    spent_s = []
    for _ in range(WARM_UP + ticks):
        begun = time.process_time()
        model.run(None, {INPUT: table})
        spent_s.append(time.process_time() - begun)
    return {
        "services": services,
        "rows": services * groups,
        "inference_s": round(statistics.median(spent_s[WARM_UP:]), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--policies", default="model,learned")
    parser.add_argument("--ticks", type=int, default=9)
    args = parser.parse_args()
    models = []
    for services, groups in ((args.services, args.endpoints), (args.services, 3)):
        model = inference(services, groups, args.ticks)
        models.append(model)
        print(f"the model alone, {model['rows']:,} rows: {model['inference_s']} s")
    rows = []
    print(f"{'policy':10} {'actuation':10} {'groups':>7} {'decide':>8} {'guard':>8} {'total':>8}")
    for policy in args.policies.split(","):
        for actuation in (Actuation.GROUPS, Actuation.ENDPOINTS):
            row = measure(args.services, args.endpoints, policy, actuation, args.ticks)
            rows.append(row)
            fell = f"  {row['fell_back']}" if row["fell_back"] else ""
            print(
                f"{policy:10} {actuation.value:10} {row['groups']:7.1f} {row['decide_s']:7.3f}s "
                f"{row['guard_s']:7.3f}s {row['total_s']:7.3f}s{fell}"
            )
    RESULT.parent.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {
        "what": "CPU seconds of one decision for all services, median of the ticks",
        "machine": f"{machine}, numpy {np.__version__}; shared with other work",
        "services": args.services,
        "endpoints": args.endpoints,
        "ticks": args.ticks,
        "inference": models,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
