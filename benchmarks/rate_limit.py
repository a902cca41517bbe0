"""Decisions a second of the rate limit service on one core, counted in memory, and how long they
take at half of the wanted rate.

The service runs as `weir serve` has it (grpc.aio, uvloop, the gate, the metrics) in a process of
its own that is kept on one core; the client is h2load (Debian: nghttp2-client), kept off that core.
A question has one rule, for each user (sliding window), or that and one for everybody (fixed);
what is counted are questions, however many rules they have. 100,000 counters are there before. As
many questions as the service takes, then so many a second as half of what is wanted.
Every answer is counted by the service too, so that an error is not taken for a decision.

    .venv/bin/python -m benchmarks.rate_limit            writes benchmarks/results/rate_limit.json
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from prometheus_client import CollectorRegistry

from controlplane._pb import rate_limit_pb2 as pb
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import Rule
from controlplane.resources.rate_limit import OPEN, ROUTE, RULE
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.rate_limits import SERVICE, RateLimitService
from controlplane.xds.telemetry import TelemetryMetrics

RESULT = Path(__file__).parent / "results" / "rate_limit.json"
WANTED = 8_000
WANTED_P99_MS = 5.0
RULES = {
    "shop/web/0": Rule("shop/web/0", 2**31 - 1, 60, sliding=True),
    "shop/web/1": Rule("shop/web/1", 2**31 - 1, 60),
}


def question(user: str, count: int = 2) -> bytes:
    """With so many rules."""
    asked = pb.RateLimitRequest(domain=OPEN)
    for rule in list(RULES)[:count]:
        one = asked.descriptors.add()
        one.entries.add(key=RULE, value=rule.encode())
        one.entries.add(key=ROUTE, value=b"shop/web/0")
    asked.descriptors[0].entries.add(key="x-user", value=user.encode())
    return asked.SerializeToString()


async def serve(core: int) -> None:
    """The service, until SIGTERM."""
    os.sched_setaffinity(0, {core})
    registry, counters = CollectorRegistry(), MemoryCounters()
    limiter = Limiter(counters, LimitMetrics(registry))
    limiter.know(RULES)
    for user in range(99_000):
        await limiter.decide(question(f"user-{user}"))
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as `weir serve`
    before = decided(registry)
    service = RateLimitService(limiter, TelemetryMetrics(registry))
    server = XdsServer(SnapshotCache(), address="127.0.0.1:0", handlers=[service.handler()])
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(server.port, flush=True)
    spent_s = time.process_time()
    await stopped.wait()
    spent_s = time.process_time() - spent_s
    told = {"decisions": decided(registry) - before, "cpu_s": spent_s, "counters": len(counters)}
    print(json.dumps(told), flush=True)
    await server.stop(0.1)


def decided(registry: CollectorRegistry) -> int:
    """Questions that were answered OK."""
    labels = {"rule": "shop/web/0", "outcome": "ok"}
    return int(registry.get_sample_value("weir_rate_limit_decisions_total", labels) or 0)


def load(port: int, body: Path, cores: set[int], *options: str) -> str:
    """Run h2load."""
    command = [
        *("h2load", "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"),
        *options,
        f"http://127.0.0.1:{port}/{SERVICE}/ShouldRateLimit",
    ]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return done.stdout


def run(
    core: int, cores: set[int], rules: int, options: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """One service and one load: what h2load and the service say of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.rate_limit", "--serve", str(core)],
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        try:
            port = int(serving.stdout.readline())
            with tempfile.TemporaryDirectory() as folder:
                asked, body = question("user-7", rules), Path(folder) / "body"
                body.write_bytes(b"\0" + len(asked).to_bytes(4, "big") + asked)
                said = load(port, body, cores, *options)
        finally:
            serving.terminate()
        return said, json.loads(serving.stdout.readline())


def full(core: int, cores: set[int], rules: int, questions: int) -> dict[str, float]:
    said, told = run(core, cores, rules, ["-n", str(questions), "-c", "4", "-m", "32"])
    rate = re.search(r"finished in [^,]+, ([0-9.]+) req/s", said)
    assert rate is not None, said
    assert told["decisions"] == questions, (told, said)
    return {
        "decisions_per_s": round(float(rate.group(1))),
        "decisions_per_cpu_s": round(told["decisions"] / told["cpu_s"]),
    }


def half(core: int, cores: set[int], rules: int, seconds: int) -> dict[str, float]:
    clients = 8
    with tempfile.NamedTemporaryFile() as log:
        each = WANTED // 2 // clients
        options = ["-c", str(clients), "-m", "16", f"--rps={each}", "-D", str(seconds)]
        _, told = run(core, cores, rules, [*options, f"--log-file={log.name}"])
        rows = [line.split() for line in Path(log.name).read_text().splitlines()]
    took_ms = np.array([int(row[2]) for row in rows]) / 1e3
    p50, p99 = np.percentile(took_ms, [50, 99])
    return {
        "decisions_per_s": round(told["decisions"] / seconds),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "core_used": round(told["cpu_s"] / seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, help="(the service itself, on this core)")
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.serve is not None:
        uvloop.run(serve(options.serve))
        return
    first, *others = sorted(os.sched_getaffinity(0))
    cores = set(others) or {first}
    runs: list[dict[str, Any]] = []
    for rules in (1, 2) * options.runs:
        loaded = os.getloadavg()[0]
        runs.append(
            {
                "load_before": round(loaded, 2),
                "rules": rules,
                "full": full(first, cores, rules, options.questions),
                "half": half(first, cores, rules, options.seconds),
            }
        )
        print(json.dumps(runs[-1]))
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        "wanted": {"decisions_per_s": WANTED, "p99_ms": WANTED_P99_MS},
        "runs": runs,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
