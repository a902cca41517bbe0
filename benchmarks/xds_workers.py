"""What it costs to serve Envoys from several processes, beside one.

    python -m benchmarks.xds_workers                     # 1,000 streams of 100 endpoints; 1, 2, 4

The deciding process holds the cache, as in `weir serve`; the clients run in another. For each
number of workers: CPU by the kernel's accounting, of the deciding process and of all workers, for
each push that a client took; how long until the last client had it; memory; and how the kernel
spread the streams. Two cores are shared by everything here, so this says what the processes cost
and not how much faster more cores would be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.xds_push import (
    GROUP,
    Job,
    assignments,
    connect,
    machine,
    names,
    say,
)
from controlplane.front.door import Door
from controlplane.front.own import OwnFront
from controlplane.front.pool import Pool
from controlplane.front.port import Front
from controlplane.model import Proxy
from controlplane.xds import SnapshotCache
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from controlplane.xds.status import Client

RESULT = Path(__file__).parent / "results" / "xds_workers.json"
DEADLINE_S = 120.0
FLEET = f"default/{GROUP}"


class Nowhere:
    """Takes reports and questions, of which there are none."""

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """None comes."""

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """None comes."""

    async def decide(self, request: bytes) -> bytes:
        """None comes."""
        return b""


def cpu_s(pid: int | str) -> float:
    """User and system time of a process, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int | str) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def workers_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def front(workers: int, cache: SnapshotCache) -> Front:
    door, sink, registry = Door("127.0.0.1:0"), Nowhere(), CollectorRegistry()
    kept: dict[str, Any] = {"access_logs": sink, "load_reports": sink, "rate_limits": sink}
    if workers == 1:
        return OwnFront(door, cache, registry=registry, **kept)
    return Pool(door, workers, cache, registry=registry, **kept)


async def measure(job: Job, workers: int) -> dict[str, Any]:
    """One number of workers."""
    cache = SnapshotCache()
    messages = assignments(job)
    bodies = {name: message.SerializeToString() for name, message in messages.items()}
    cache.set(FLEET, {CLUSTER: {}, ENDPOINT: bodies})
    serving = front(workers, cache)
    serving.know([FLEET])
    await serving.start()
    children = workers_of(os.getpid())
    clients = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.xds_workers", "--clients-of", str(serving.port)),
        *("--streams", str(job.streams), "--endpoints", str(job.endpoints)),
        stdout=subprocess.PIPE,
    )
    assert clients.stdout is not None
    try:
        await took(clients.stdout)
        spread = sorted(len(one) for one in (await by_worker(serving)))
        main_s, workers_s = cpu_s("self"), sum(map(cpu_s, children))
        converged = []
        for version in range(job.pushes):
            for name in names(job):
                for locality in messages[name].endpoints:
                    for index, endpoint in enumerate(locality.lb_endpoints):
                        endpoint.load_balancing_weight.value = 1000 + (version + index) % 100
                bodies[name] = messages[name].SerializeToString()
            began_s = time.monotonic()
            cache.set(FLEET, {CLUSTER: {}, ENDPOINT: dict(bodies)})
            await took(clients.stdout)
            converged.append(time.monotonic() - began_s)
        pushes = job.pushes * job.streams
        return {
            "workers": workers,
            "deciding_us_per_push": round((cpu_s("self") - main_s) / pushes * 1e6, 1),
            "workers_us_per_push": round((sum(map(cpu_s, children)) - workers_s) / pushes * 1e6, 1),
            "converged_ms": round(statistics.median(converged) * 1e3, 1),
            "deciding_mb": rss_mb("self"),
            "worker_mb": [rss_mb(pid) for pid in children],
            "streams": spread,
        }
    finally:
        clients.terminate()
        await clients.wait()
        await serving.stop(1.0)


async def by_worker(serving: Front) -> list[tuple[Client, ...]]:
    """The streams, by the process that has them."""
    if not isinstance(serving, Pool):
        return [tuple(await serving.clients(FLEET))]
    return await serving.by_worker(FLEET)


async def took(lines: asyncio.StreamReader) -> None:
    """Until every client has what was sent last."""
    async with asyncio.timeout(DEADLINE_S):
        await lines.readline()


async def clients(job: Job, port: int) -> None:
    """Says a line each time that as many responses were taken as there are streams."""
    count = 0

    def one_more() -> None:
        nonlocal count
        count += 1
        if count % job.streams == 0:
            say({"took": count})

    await connect(job, port, one_more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--pushes", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--no-save", action="store_true", help="leave the result file alone")
    parser.add_argument("--clients-of", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    job = Job(
        streams=given.streams,
        clusters=1,
        endpoints=given.endpoints,
        changed=1,
        pushes=given.pushes,
        rounds=1,
        delta=False,
        storm=False,
        connections=given.streams,
        bare=False,
    )
    if given.clients_of:
        uvloop.run(clients(job, given.clients_of))
        return
    rows = []
    for workers in given.workers:
        rows.append(uvloop.run(measure(job, workers)))
        print(json.dumps(rows[-1]), flush=True)
    if not given.no_save:
        result = {"machine": machine(), "streams": given.streams, "rows": rows}
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
