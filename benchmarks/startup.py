"""Start of `weir serve` to ready with 1,000 endpoints, and the memory it takes.

    .venv/bin/python benchmarks/startup.py --repeats 5

For 10 services of 100 endpoints and 100 of 10: the time from exec to /readyz 200 without any state
from before and with it, resident memory when ready and after 60 ticks of every service, and whether
torch or numba are mapped into the process. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from controlplane.lab.weir import WeirServe

RESULT = Path(__file__).parent / "results" / "startup.json"
TICKS = 60


def declared(services: int, endpoints: int, policy: str) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    for i in range(services):
        name = f"service-{i:03d}"
        addresses = [
            {"ip": {"address": f"10.{i // 250}.{i % 250}.{j + 1}", "port": 8080}}
            for j in range(endpoints)
        ]
        head = {"apiVersion": "weir.dev/v1alpha1", "metadata": {"name": name}}
        documents.append({**head, "kind": "Backend", "spec": {"endpoints": addresses}})
        target = {"group": "weir.dev", "kind": "Backend", "name": name}
        spec = {"targetRefs": [target], "policy": policy}
        documents.append({**head, "kind": "BalancingPolicy", "spec": spec})
    return documents


def memory(pid: int) -> dict[str, float]:
    """Megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {key: round(int(fields[key].split()[0]) / 1024, 1) for key in ("VmRSS", "VmHWM")}


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def mapped(pid: int) -> list[str]:
    """Which of these are in the process."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in ("torch", "numba", "llvmlite") if f"/{name}/" in maps]


async def start(served: WeirServe) -> tuple[float, float]:
    """Seconds until it is ready, and seconds of CPU it took."""
    begin_s = time.monotonic()
    await served.start()
    while True:
        assert served.process is not None
        if served.process.returncode is not None or time.monotonic() - begin_s > 120.0:
            raise SystemExit(f"it does not become ready; its log ends:\n{served.tail()}")
        try:
            if (await served.get("/readyz"))[0] == 200:
                return time.monotonic() - begin_s, cpu_s(served.process.pid)
        except (OSError, TimeoutError, ValueError, IndexError):
            pass
        await asyncio.sleep(0.02)


async def decided(served: WeirServe) -> float:
    _, page = await served.get("/metrics", 10.0)
    lines = page.decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("weir_services_decided_total")
    )


async def measure(services: int, endpoints: int, repeats: int, policy: str) -> dict[str, Any]:
    took, cpu = [], []
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as temporary:
        served = WeirServe(Path(temporary))
        served.declare(declared(services, endpoints, policy))
        try:
            for i in range(repeats):
                if i:
                    await served.kill()  # what it saved is resumed
                wall_s, used_s = await start(served)
                took.append(wall_s)
                cpu.append(used_s)
            assert served.process is not None
            pid = served.process.pid
            ready = memory(pid)
            end_s = time.monotonic() + 600.0
            ticked = 0.0
            while time.monotonic() < end_s and ticked < services * TICKS:
                await asyncio.sleep(1.0)
                ticked = await decided(served)
            return {
                "services": services,
                "endpoints_each": endpoints,
                "ready_s": {
                    "first": round(took[0], 2),
                    "median": round(statistics.median(took), 2),
                    "most": round(max(took), 2),
                },
                "cpu_to_ready_s": round(statistics.median(cpu), 2),
                "mb_when_ready": ready,
                "mb_after_ticks": memory(pid),
                "ticks_of_each_service": round(ticked / services, 1),
                "mapped": mapped(pid),
            }
        finally:
            await served.kill()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--policy", default="model")
    options = parser.parse_args()
    rows = []
    for services, endpoints in ((10, 100), (100, 10)):
        rows.append(await measure(services, endpoints, options.repeats, options.policy))
        print(json.dumps(rows[-1]), flush=True)
    result = {
        "what": "start of weir serve to /readyz 200 with 1,000 endpoints, and resident memory",
        "options": vars(options),
        "runs": rows,
        "load_average": os.getloadavg(),
        "machine": {"cpus": os.cpu_count()},
        "command": " ".join([".venv/bin/python", "benchmarks/startup.py", *sys.argv[1:]]),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
