"""What one push of endpoints costs the xDS server, and what a storm of connects does to it.

    python benchmarks/xds_push.py                        # 1,000 streams x 1 cluster x 100 endpoints
    python benchmarks/xds_push.py --delta
    python benchmarks/xds_push.py --connect-storm 5000
    python benchmarks/xds_push.py --streams 500 --stalled 100    # who stop reading after the first

The server runs in a process of its own; what it costs is that process's user and system time by
the kernel's accounting (getrusage), from the change of the snapshot until every client's ACK was
handled, divided by the number of pushes. The clients run in another process, each stream on a
connection of its own, as Envoys have it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.model import Zone
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.connection import Context
from controlplane.xds.exposition import XdsCollector
from controlplane.xds.kinds import ENDPOINT

GROUP = "bench"
RESULT = Path(__file__).parent / "results" / "xds_push.json"
CONVERGE_S = 120.0


@dataclass(frozen=True)
class Job:
    """What is measured."""

    streams: int
    clusters: int
    endpoints: int
    changed: int
    """Clusters that change with each push."""
    pushes: int
    rounds: int
    delta: bool
    storm: bool
    connections: int
    bare: bool
    """Measure grpc.aio without our server."""
    stalled: int = 0
    """Of the streams: clients that take the first response and then read no more."""
    places: int = 0
    """So many places of clients; each is told every assignment otherwise."""


def names(job: Job) -> list[str]:
    return [f"cluster-{number}" for number in range(job.clusters)]


def assignments(job: Job) -> dict[str, ClusterLoadAssignment]:
    made = {}
    for name in names(job):
        message = made[name] = ClusterLoadAssignment(cluster_name=name)
        locality = message.endpoints.add()
        for number in range(job.endpoints):
            endpoint = locality.lb_endpoints.add()
            address = endpoint.endpoint.address.socket_address
            address.address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            address.port_value = 8080
            endpoint.load_balancing_weight.value = 1000
    return made


def show(cache: SnapshotCache, job: Job, bodies: dict[str, bytes]) -> None:
    """At each place there is a locality more, so that its bytes are others."""
    more = ClusterLoadAssignment()
    by_place = {}
    for number in range(job.places):
        more.Clear()
        more.endpoints.add().priority = number
        here = more.SerializeToString()
        by_place[Zone("r", f"z{number}")] = {name: body + here for name, body in bodies.items()}
    cache.set(GROUP, {ENDPOINT: bodies}, by_place)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


async def serve(job: Job) -> None:
    """The process that is measured. Speaks lines of JSON on its standard output."""
    cache = SnapshotCache()
    messages = assignments(job)
    bodies = {name: message.SerializeToString() for name, message in messages.items()}
    show(cache, job, bodies)
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    before_kb = rss_kb()
    say({"port": server.port})
    counts = server.counts.of(GROUP, ENDPOINT)

    def acked(wanted: int) -> bool:
        return counts.acks >= wanted

    started = time.monotonic()
    await until(lambda: counts.acks >= job.streams)
    connected_s = time.monotonic() - started
    connect_cpu_s = cpu_s()
    per_push, latencies, nearly = [], [], []
    version, full_kb = 0, rss_kb()
    for _ in range(0 if job.storm else job.rounds):
        pushes, cpu = counts.pushes, cpu_s()
        for _ in range(job.pushes):
            version += 1
            began = time.monotonic()
            acks = counts.acks
            for name in names(job)[: job.changed]:
                for locality in messages[name].endpoints:
                    for index, endpoint in enumerate(locality.lb_endpoints):
                        endpoint.load_balancing_weight.value = 1000 + (version + index) % 100
                bodies[name] = messages[name].SerializeToString()
            show(cache, job, bodies)
            reading = job.streams - job.stalled
            await until(partial(acked, acks + math.ceil(0.99 * reading)))
            nearly.append(time.monotonic() - began)
            await until(partial(acked, acks + reading))
            latencies.append(time.monotonic() - began)
        per_push.append((cpu_s() - cpu) / (counts.pushes - pushes) * 1e6)
    say(
        {
            "cpu_us_per_push": per_push,
            "converged_s": latencies,
            "nearly_s": nearly,
            "connected_s": connected_s,
            "connect_cpu_s": connect_cpu_s,
            "streams": len(server.clients()),
            "kb_per_stream": (rss_kb() - before_kb) / job.streams,
            "grown_kb": rss_kb() - full_kb,
            "scrape_s": scrapes(server),
        }
    )
    await server.stop(1.0)


def scrapes(server: XdsServer) -> list[float]:
    """How long some scrapes of the server's metrics keep the event loop."""
    registry = CollectorRegistry()
    registry.register(XdsCollector(server))
    took = []
    for _ in range(5):
        began = time.monotonic()
        generate_latest(registry)
        took.append(time.monotonic() - began)
    return took


async def serve_bare(job: Job) -> None:
    """The least that grpc.aio can do: write the same bytes to every stream, and read the ACKs."""
    messages = assignments(job)
    acks, contexts = 0, []

    async def stream(_: object, context: Context) -> None:
        nonlocal acks
        await context.read()
        contexts.append(context)
        acks += 1
        while (await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            acks += 1

    def acked(wanted: int) -> bool:
        return acks >= wanted

    method = grpc.stream_stream_rpc_method_handler(stream)
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    methods = {"StreamAggregatedResources": method, "DeltaAggregatedResources": method}
    handler = grpc.method_handlers_generic_handler(service, methods)
    options = [("grpc.server.max_pending_requests", 1_000_000)]
    server = grpc.aio.server(handlers=(handler,), options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    before_kb = rss_kb()
    say({"port": port})
    await until(lambda: acks >= job.streams)
    per_push, latencies = [], []
    for _ in range(job.rounds):
        cpu = cpu_s()
        for number in range(job.pushes):
            began, wanted = time.monotonic(), acks + job.streams
            raw = DiscoveryResponse(type_url=ENDPOINT, nonce=f"{number}", version_info=f"{number}")
            for name in names(job)[: job.changed]:
                raw.resources.add(value=messages[name].SerializeToString())
            body = raw.SerializeToString()
            tasks = [asyncio.create_task(context.write(body)) for context in contexts]
            await until(partial(acked, wanted))
            await asyncio.gather(*tasks)
            latencies.append(time.monotonic() - began)
        per_push.append((cpu_s() - cpu) / (job.pushes * job.streams) * 1e6)
    say(
        {
            "cpu_us_per_push": per_push,
            "converged_s": latencies,
            "streams": len(contexts),
            "kb_per_stream": (rss_kb() - before_kb) / job.streams,
        }
    )
    await server.stop(None)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(CONVERGE_S):
        while not condition():  # noqa: ASYNC110 (looking is part of what is measured, and cheap)
            await asyncio.sleep(0.002)


def say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


async def connect(job: Job, port: int, took: Callable[[], None] = lambda: None) -> None:
    """The process with the clients: every stream takes what it gets until it is closed.

    `took` is called after each ACK.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            )
            for _ in range(job.connections)
        ]
        numbers = range(job.streams)
        await asyncio.gather(*(client(job, channels[n % len(channels)], n, took) for n in numbers))


async def client(
    job: Job, channel: grpc.aio.Channel, number: int, took: Callable[[], None]
) -> None:
    verb = "Delta" if job.delta else "Stream"
    path = f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{verb}AggregatedResources"
    method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
    call = method(wait_for_ready=True)
    request: Any
    response: Any
    if job.delta:
        request, response = DeltaDiscoveryRequest, DeltaDiscoveryResponse
        first = request(type_url=ENDPOINT, resource_names_subscribe=names(job))
    else:
        request, response = DiscoveryRequest, DiscoveryResponse
        first = request(type_url=ENDPOINT, resource_names=names(job))
    first.node.id, first.node.cluster = f"client-{number}", GROUP
    if job.places:
        place = first.node.locality
        place.region, place.zone = "r", f"z{number % job.places}"
    try:
        await call.write(first.SerializeToString())
        while (raw := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            message = response.FromString(raw)
            ack = request(type_url=ENDPOINT, response_nonce=message.nonce)
            if not job.delta:
                ack.version_info = message.version_info
                ack.resource_names.extend(names(job))
            await call.write(ack.SerializeToString())
            took()
            if number < job.stalled:
                await asyncio.Event().wait()  # until this process is ended
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # the server has stopped


def run(job: Job, arguments: list[str]) -> dict[str, Any]:
    """One server, one process of clients; what the server said at the end."""
    command = [sys.executable, __file__, *arguments]
    server = subprocess.Popen([*command, "--role", "server"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    clients: subprocess.Popen[bytes] | None = None
    try:
        port = json.loads(server.stdout.readline())["port"]
        clients = subprocess.Popen([*command, "--role", "clients", "--port", str(port)])
        return dict(json.loads(server.stdout.readline()))
    finally:
        for process in (clients, server):
            if process is not None:
                process.terminate()
                process.wait()


def machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--changed", type=int, default=1, help="clusters that change at once")
    parser.add_argument("--pushes", type=int, default=20, help="pushes to every stream in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delta", action="store_true")
    parser.add_argument("--connect-storm", type=int, default=0, metavar="STREAMS")
    parser.add_argument("--stalled", type=int, default=0, help="streams that stop reading")
    parser.add_argument("--places", type=int, default=0, help="zones, each told something else")
    parser.add_argument("--connections", type=int, default=0, help="default: one a stream")
    parser.add_argument("--bare", action="store_true", help="grpc.aio alone, for comparison")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--no-save", action="store_true", help="leave the result file alone")
    parser.add_argument("--role", choices=["server", "clients"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    job = Job(
        streams=given.connect_storm or given.streams,
        clusters=given.clusters,
        endpoints=given.endpoints,
        changed=given.changed,
        pushes=given.pushes,
        rounds=given.rounds,
        delta=given.delta,
        storm=bool(given.connect_storm),
        connections=given.connections or given.connect_storm or given.streams,
        bare=given.bare,
        stalled=given.stalled,
        places=given.places,
    )
    if given.role:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        factory = uvloop.new_event_loop if given.loop == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            if given.role == "clients":
                runner.run(connect(job, given.port))
            else:
                gc.freeze()  # both as `weir serve` does it
                gc.set_threshold(20_000, 20, 20)
                runner.run(serve_bare(job) if job.bare else serve(job))
        return
    note = machine()
    result = run(job, sys.argv[1:])
    what = f"{job.streams} x {job.clusters} x {job.endpoints}"
    variant = f"{'delta' if job.delta else 'sotw'}, {given.loop}"
    if job.connections != job.streams:
        variant += f", {job.connections} connections"
    variant += ", grpc.aio alone" if job.bare else ""
    variant += f", {job.stalled} stop reading" if job.stalled else ""
    variant += f", {job.places} places" if job.places else ""
    if job.storm:
        key = f"storm of {job.streams} connects ({variant})"
        row = {
            "served": result["streams"],
            "lost": job.streams - result["streams"],
            "all_converged_s": round(result["connected_s"], 2),
            "server_cpu_us_per_connect": round(result["connect_cpu_s"] / job.streams * 1e6),
            "scrape_of_metrics_ms": round(statistics.median(result["scrape_s"]) * 1e3, 1),
        }
    else:
        key = f"{what}, {job.changed} changed ({variant})"
        converged = sorted(result["converged_s"])
        row = {
            "server_cpu_us_per_push": round(statistics.median(result["cpu_us_per_push"]), 1),
            "rounds_us": [round(one, 1) for one in result["cpu_us_per_push"]],
            "all_streams_converged_median_ms": round(statistics.median(converged) * 1e3),
            "all_streams_converged_max_ms": round(converged[-1] * 1e3),
            "99_of_100_streams_converged_median_ms": round(
                statistics.median(result.get("nearly_s", converged)) * 1e3
            ),
            "kb_per_stream": round(result["kb_per_stream"], 1),
            "grown_kb": result.get("grown_kb", 0),
        }
    print(key)
    for name, value in row.items():
        print(f"  {name:34} {value}")
    if not given.no_save:
        RESULT.parent.mkdir(exist_ok=True)
        saved = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        saved[key] = {
            **row,
            "machine": note,
            "command": " ".join(["python -m benchmarks.xds_push", *sys.argv[1:]]),
        }
        RESULT.write_text(json.dumps(saved, indent=2) + "\n")


if __name__ == "__main__":
    main()
