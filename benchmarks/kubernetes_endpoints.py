"""From a change of an EndpointSlice in the API to the assignment that an Envoy is sent.

    python -m benchmarks.kubernetes_endpoints [--services 1000] [--changes 100] [--rate 10]

The test API server and `weir serve --kubernetes` are processes of their own; every Service has ten
endpoints and a route. `start_s` is from the start of the process until it is ready, `lists_s` the
part of it that lists and loads; `change_ms` from the answer of the API server to the changed slice
until an xDS client of one Service has the new address. Writes
benchmarks/results/kubernetes_endpoints.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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
            await asyncio.sleep(0.02)
    raise TimeoutError("weir serve is not ready")


async def changes(http: httpx.Client, client: EdsClient, count: int, rate: float) -> list[float]:
    taken = []
    began_s = time.perf_counter()
    for number in range(1, count + 1):
        body = slice_of("s0", 0, number)
        address = body["endpoints"][-1]["addresses"][0].encode()
        await asyncio.to_thread(
            lambda body=body: http.put(  # type: ignore[misc]
                f"{SLICES}/endpointslices/s0-x", json=body
            ).raise_for_status()
        )
        put_s = time.perf_counter()
        async with asyncio.timeout(DEADLINE_S):
            while address not in client.newest.body:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        taken.append((time.perf_counter() - put_s) * 1e3)
        await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
    return taken


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return float(next(one.split()[1] for one in lines if one.startswith("VmRSS"))) / 1024


def in_force_s(log: Path) -> float:
    """From the first line of the log to the documents in force."""
    lines = [json.loads(one) for one in log.read_text().splitlines() if one.startswith("{")]
    times = {one["event"]: one["timestamp"] for one in reversed(lines)}
    first, last = (
        time.mktime(time.strptime(one[:19], "%Y-%m-%dT%H:%M:%S"))
        + float(f"0{one[19:].rstrip('Z')}")
        for one in (times["serving"], times["documents in force"])
    )
    return last - first


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
                        client = EdsClient(xds, "default/s0:80", "default/edge")
                        following = asyncio.create_task(client.run())
                        while not client.streams:  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                        await asyncio.sleep(10.0)  # the first statuses are written
                        taken = sorted(await changes(http, client, count, rate))
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
        "lists_s": round(in_force_s(log), 2),
        "changes": count,
        "rate": rate,
        "change_ms": {
            "median": round(statistics.median(taken), 1),
            "p99": round(taken[min(len(taken) - 1, int(len(taken) * 0.99))], 1),
            "max": round(taken[-1], 1),
        },
        "rss_mb": round(rss),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(measure(Path(folder), given.services, given.changes, given.rate))
    text = json.dumps(made, indent=2)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
