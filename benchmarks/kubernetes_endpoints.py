"""From a change of an EndpointSlice in the API to the assignment that an Envoy is sent.

    python -m benchmarks.kubernetes_endpoints [--services 1000] [--changes 300] [--rate 10]

The test API server and `weir serve --kubernetes` are processes of their own; every Service has ten
endpoints and a route. `start_s` is from the start of the process until it is ready, `snapshot_s`
the part of it from the first question to the API server, `lists_s` that up to the documents in
force; `change_ms` from the answer of the API server to the changed slice until an xDS client of one
Service has the new address. What hardly depends on what else the machine does is the CPU time of
the process: until it is ready, of a change (beyond what as many seconds without one took), and of a
second without one. `unqueued_ms` is `change_ms` without the time in which the main thread of Weir
was ready to run and had no core, as the kernel counts it: what is left on a machine with a core for
it, as far as that thread goes; other threads and processes still wait. API calls are those of
`weir_kubernetes_calls_total`. Writes benchmarks/results/kubernetes_endpoints.json.
`benchmarks.kubernetes_cost` has the CPU time by part.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane.lab.ports import free_ports
from controlplane.resources.crds import definitions
from tests.e2e.eds import EdsClient
from tests.kubernetes.scene import gateway_api
from tests.unit.resources.documents import GATEWAY

RESULT = Path(__file__).parent / "results" / "kubernetes_endpoints.json"
ENDPOINTS = 10
DEADLINE_S = 120.0
CHANGED = re.compile(rb"10\.200\.(\d+)\.(\d+)")
"""The endpoint of `slice_of` that is another one after each change."""
SETTLED_S = 5.0
"""No status written for so long: all are."""
IDLE_S = 10.0
CORE, SLICES = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default"


def service(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}}


def slice_of(name: str, at: int, changed: int = 0) -> dict[str, Any]:
    """Ten endpoints; the last of them has another address after each change."""
    addresses = [f"10.{at // 250}.{at % 250}.{number + 1}" for number in range(ENDPOINTS - 1)]
    addresses.append(f"10.200.{changed // 250}.{changed % 250 + 1}")
    return {
        "metadata": {"name": f"{name}-x", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [one], "conditions": {"ready": True}, "zone": "abc"[number % 3]}
            for number, one in enumerate(addresses)
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def route(name: str) -> dict[str, Any]:
    refs = [{"group": "", "kind": "Service", "name": name, "port": 80}]
    spec = {
        "parentRefs": [{"name": "edge"}],
        "hostnames": [f"{name}.test"],
        "rules": [{"backendRefs": refs}],
    }
    return {"metadata": {"name": name}, "spec": spec}


def fill(http: httpx.Client, services: int) -> None:
    for one in (*definitions(), *gateway_api()):
        http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=one)
    http.post(f"{ROUTES}/gateways", json=yaml.safe_load(GATEWAY)).raise_for_status()
    wanted = []
    for at in range(services):
        name = f"s{at}"
        wanted += [
            (f"{CORE}/services", service(name)),
            (f"{SLICES}/endpointslices", slice_of(name, at)),
            (f"{ROUTES}/httproutes", route(name)),
        ]
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda one: http.post(one[0], json=one[1]), wanted):
            answer.raise_for_status()


async def ready(admin: int, running: subprocess.Popen[bytes]) -> float:
    started_s = time.perf_counter()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin}") as http:
        while time.perf_counter() - started_s < DEADLINE_S and running.poll() is None:
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return time.perf_counter() - started_s
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("weir serve is not ready")


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was, and how long the main thread of Weir had waited for a core by then."""

    at_s: float
    queued_s: float

    @classmethod
    def now(cls, pid: int) -> Moment:
        queued = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]
        return cls(time.perf_counter(), int(queued) / 1e9)

    def ms_since(self, other: Moment) -> tuple[float, float]:
        """Milliseconds in all, and without the wait for a core."""
        took_s = max(0.0, self.at_s - other.at_s)
        return took_s * 1e3, max(0.0, took_s - (self.queued_s - other.queued_s)) * 1e3


async def changes(
    http: httpx.Client, client: EdsClient, pid: int, count: int, rate: float
) -> list[tuple[float, float]]:
    """What each took. Changes come at their times, whether those before arrived or not; one that a
    later one overtook arrived with that."""
    put: dict[int, Moment] = {}
    watching = asyncio.create_task(_arrivals(client, pid, count))
    began_s = time.perf_counter()
    for number in range(1, count + 1):
        await asyncio.sleep(max(0.0, began_s + (number - 1) / rate - time.perf_counter()))
        body = slice_of("s0", 0, number)
        await asyncio.to_thread(_put, http, f"{SLICES}/endpointslices/s0-x", body)
        put[number] = Moment.now(pid)
    arrived = await watching
    return [arrived[number].ms_since(moment) for number, moment in put.items()]


def _put(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    http.put(path, json=body).raise_for_status()


async def _arrivals(client: EdsClient, pid: int, count: int) -> dict[int, Moment]:
    """When each change was there, or a later one."""
    found: dict[int, Moment] = {}
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            said = CHANGED.search(client.newest.body)
            number = int(said[1]) * 250 + int(said[2]) - 1 if said else 0
            if number > len(found):
                moment = Moment.now(pid)
                found.update((one, moment) for one in range(len(found) + 1, number + 1))
            await asyncio.sleep(0.001)
    return found


async def calls(http: httpx.AsyncClient) -> dict[str, float]:
    """API calls so far, by verb; statuses are patched."""
    found: dict[str, float] = {}
    for line in (await http.get("/metrics")).text.splitlines():
        if line.startswith("weir_kubernetes_calls_total{"):
            verb = line.partition('verb="')[2].partition('"')[0]
            found[verb] = found.get(verb, 0.0) + float(line.rpartition(" ")[2])
    return found


async def settled(http: httpx.AsyncClient) -> dict[str, float]:
    """The calls until every status is written as it should be."""
    before, deadline_s = {"PATCH": -1.0}, time.perf_counter() + DEADLINE_S
    while (now := await calls(http)).get("PATCH", 0.0) != before["PATCH"]:
        if time.perf_counter() > deadline_s:
            raise TimeoutError("statuses are written without end")
        before = {"PATCH": 0.0, **now}
        await asyncio.sleep(SETTLED_S)
    return now


def cpu_s(pid: int) -> float:
    """CPU time of a process, with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(one.split()[1] for one in lines if one.startswith("VmRSS"))) / 1024


def told_s(log: Path, event: str) -> float:
    """When the log told of something first, in seconds since the epoch."""
    for line in log.read_text().splitlines():
        if line.startswith("{") and (found := json.loads(line))["event"] == event:
            return datetime.fromisoformat(found["timestamp"]).timestamp()
    raise RuntimeError(f"the log does not say {event!r}")


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 1),
        "p99": round(ordered[math.ceil(len(ordered) * 0.99) - 1], 1),
        "max": round(ordered[-1], 1),
    }


async def measure(folder: Path, services: int, count: int, rate: float) -> dict[str, Any]:
    api, xds, admin = free_ports(3)
    kubeconfig, log = folder / "kubeconfig", folder / "log"
    server = [sys.executable, "-m", "tests.kubernetes.apiserver", "--port", str(api)]
    serve = [sys.executable, "-m", "controlplane.cli", "serve", "--kubernetes"]
    serve += ["--kubeconfig", str(kubeconfig), "--state-dir", str(folder / "state")]
    serve += ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    serve += ["--log-format", "json"]
    with subprocess.Popen([*server, "--kubeconfig", str(kubeconfig)]) as holding:  # noqa: ASYNC220
        try:
            while not kubeconfig.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            with httpx.Client(base_url=f"http://127.0.0.1:{api}", timeout=60.0) as http:
                await asyncio.to_thread(fill, http, services)
                with log.open("wb") as out, subprocess.Popen(serve, stdout=out, stderr=out) as run:  # noqa: ASYNC220
                    try:
                        start_s = await ready(admin, run)
                        ready_at_s, start_cpu_s = time.time(), cpu_s(run.pid)
                        client = EdsClient(xds, "default/s0:80", "default/edge")
                        following = asyncio.create_task(client.run())
                        while not client.streams:  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                        async with httpx.AsyncClient(
                            base_url=f"http://127.0.0.1:{admin}", timeout=DEADLINE_S
                        ) as page:
                            written = await settled(page)
                            idle_s = cpu_s(run.pid)
                            await asyncio.sleep(IDLE_S)
                            before_s = cpu_s(run.pid)
                            idle_s = (before_s - idle_s) / IDLE_S
                            began_s = time.perf_counter()
                            taken = await changes(http, client, run.pid, count, rate)
                            lasted_s = time.perf_counter() - began_s
                            spent_s = cpu_s(run.pid) - before_s - idle_s * lasted_s
                            after = await settled(page)
                        following.cancel()
                        rss = memory_mb(run.pid)
                    finally:
                        run.terminate()
        finally:
            holding.terminate()
    return {
        "services": services,
        "endpoints": services * ENDPOINTS,
        "start_s": round(start_s, 2),
        "snapshot_s": round(ready_at_s - told_s(log, "serving"), 2),
        "lists_s": round(told_s(log, "documents in force") - told_s(log, "serving"), 2),
        "start_cpu_s": round(start_cpu_s, 2),
        "changes": count,
        "rate": rate,
        "change_ms": spread([each for each, _ in taken]),
        "unqueued_ms": spread([each for _, each in taken]),
        "change_cpu_ms": round(spent_s / count * 1e3, 1),
        "second_cpu_ms": round(idle_s * 1e3, 1),
        "rss_mb": round(rss),
        "calls_of_the_start": {verb: int(many) for verb, many in sorted(written.items())},
        "calls_of_the_changes": {
            verb: int(many - written.get(verb, 0.0))
            for verb, many in sorted(after.items())
            if many > written.get(verb, 0.0)
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--rate", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(measure(Path(folder), given.services, given.changes, given.rate))
    text = json.dumps(made, indent=2)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
