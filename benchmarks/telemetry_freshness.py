"""How long after a request ended its access log entry is counted, by Envoy's flush interval.

A real Envoy, one backend, one request after another. What is measured is the time from the end of
the response at the client to the entry having been read by the receiver.

    .venv/bin/python benchmarks/telemetry_freshness.py     writes results/telemetry_freshness.json
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoys are started beside gRPC

from controlplane.observe.receipts import Receipts  # noqa: E402
from tests.envoy.backends import Backend, get  # noqa: E402
from tests.envoy.test_telemetry import lab  # noqa: E402

RESULT = Path(__file__).parent / "results" / "telemetry_freshness.json"
REQUESTS = 200
FLUSHES_S = (0.05, 0.1, 0.2, 1.0)


async def delays_s(flush_s: float) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        async with lab(Path(folder), Backend(0.01), flush_s=flush_s) as here:
            arrived: list[float] = []
            ended: list[float] = []
            watching = asyncio.create_task(watch(here.source.receipts, arrived))
            for _ in range(REQUESTS):
                await get(here.listen)
                ended.append(time.monotonic())
                await asyncio.sleep(0.013)
            async with asyncio.timeout(10.0):
                await watching
    return [there - here for there, here in zip(arrived, ended, strict=True)]


async def watch(receipts: Receipts, arrived: list[float]) -> None:
    while len(arrived) < REQUESTS:
        seen = receipts.log_entries
        arrived += [time.monotonic()] * (seen - len(arrived))
        await asyncio.sleep(0.001)


async def main() -> None:
    found = {}
    for flush_s in FLUSHES_S:
        delays = sorted(await delays_s(flush_s))
        found[f"{flush_s:g}"] = {
            "median_ms": round(1e3 * statistics.median(delays)),
            "p95_ms": round(1e3 * delays[int(0.95 * len(delays))]),
            "max_ms": round(1e3 * delays[-1]),
        }
    result = {
        "what": "from the end of a request to its access log entry counted, by flush interval (s)",
        "requests": REQUESTS,
        "by_flush_interval_s": found,
        "machine": {"cpus": os.cpu_count(), "note": "a shared machine"},
        "command": ".venv/bin/python benchmarks/telemetry_freshness.py",
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
