"""From a change of weights in the snapshot to the same weights in force in a real Envoy.

    python -m benchmarks.xds_apply [--changes 200]

Envoy is asked for its page of clusters again and again; what that costs is
measured beside (`look_ms`) and is the resolution. Writes benchmarks/results/xds_apply.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoys are started beside gRPC

from controlplane.lab.envoy import free_port
from controlplane.xds.kinds import ENDPOINT
from tests.envoy.test_xds import (
    FLEET,
    assignment,
    backend,
    one_service,
    world,
)

RESULT = Path(__file__).parent / "results" / "xds_apply.json"
PAUSE_S = 0.05


async def measure(folder: Path, changes: int, *, delta: bool) -> dict[str, Any]:
    """Milliseconds of each change, in one variant of the protocol."""
    taken: list[float] = []
    looks: list[float] = []
    port = free_port()
    async with backend("a") as a:
        start = one_service(port, {a.port: 1})
        async with world(folder, start, port, delta=delta) as here:
            await _until(here, {a.port: 1}, looks)
            for number in range(2, changes + 2):
                wanted = {a.port: number}
                resources = {**here.resources, ENDPOINT: {"web": assignment("web", wanted)}}
                began = time.monotonic()
                here.cache.set(FLEET, resources)
                await _until(here, wanted, looks)
                taken.append((time.monotonic() - began) * 1e3)
                await asyncio.sleep(PAUSE_S)
    ordered = sorted(taken)
    return {
        "median_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[int(0.99 * len(ordered))], 2),
        "look_ms": round(statistics.median(looks), 2),
    }


async def _until(here: Any, wanted: dict[int, int], looks: list[float]) -> None:  # noqa: ANN401
    async with asyncio.timeout(20.0):
        while True:
            began = time.monotonic()
            weights = await here.weights("web")
            looks.append((time.monotonic() - began) * 1e3)
            if weights == wanted:
                return


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--changes", type=int, default=200)
    changes = parser.parse_args().changes
    result: dict[str, Any] = {"what": "milliseconds from a change of weights to Envoy having it"}
    for name, delta in (("sotw", False), ("delta", True)):
        with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
            result[name] = await measure(Path(folder), changes, delta=delta)
    result["changes"] = changes
    result["machine"] = {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
