"""An hour of changes, reconnects and refusals: what the server holds stays flat.

    make soak                                   # an hour
    python -m benchmarks.xds_soak --minutes 5
    python -m benchmarks.xds_soak --minutes 5 --bare --life-s 0.5    # grpc.aio alone

200 clients live 20 s each on average, and come back at once; one in twenty responses is refused;
five times a second a cluster changes, and once in ten seconds the set of clusters. The server
process samples itself every five seconds. Flat is: over the last two thirds of the time, the line
of best fit rises by less than 3 % (memory), or by less than 3 (tasks and descriptors, beyond those
of open streams). Exit status 1 where it is not. Writes benchmarks/results/xds_soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from benchmarks.xds_push import rss_kb, say
from controlplane._pb.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.connection import Context
from controlplane.xds.kinds import CLUSTER, ENDPOINT

RESULT = Path(__file__).parent / "results" / "xds_soak.json"
GROUP = "soak"
CLUSTERS, ENDPOINTS = 20, 20
CLIENTS, LIFE_S, REFUSED = 200, 20.0, 0.05
CHANGE_S, REGROUP_S, SAMPLE_S = 0.2, 10.0, 5.0
MOST_GROWTH, MOST_MORE = 0.03, 3.0


async def serve(duration_s: float) -> None:
    """The process that is watched."""
    cache, chance = SnapshotCache(), random.Random(1)
    names = [f"cluster-{number}" for number in range(CLUSTERS)]
    weights = {name: _assignment(name, chance) for name in names}
    cache.set(GROUP, {CLUSTER: dict.fromkeys(names, b""), ENDPOINT: weights})
    server = XdsServer(cache, address="127.0.0.1:0")
    await server.start()
    say({"port": server.port})
    began = time.monotonic()
    sample_s = regroup_s = 0.0
    while (now_s := time.monotonic() - began) < duration_s:
        name = chance.choice(names)
        weights[name] = _assignment(name, chance)
        here = names
        if now_s - regroup_s >= REGROUP_S:
            regroup_s, here = now_s, chance.sample(names, CLUSTERS - 2)
        cache.set(
            GROUP,
            {
                CLUSTER: dict.fromkeys(here, b""),
                ENDPOINT: {each: weights[each] for each in here},
            },
        )
        if now_s - sample_s >= SAMPLE_S:
            sample_s = now_s
            gc.collect()
            say(
                {
                    "at_s": round(now_s, 1),
                    **_process(),
                    "streams": len(server.clients()),
                    "connects": server.counts.connects,
                    "pushes": server.counts.of(GROUP, ENDPOINT).pushes,
                    "nacks": server.counts.of(GROUP, ENDPOINT).nacks,
                }
            )
        await asyncio.sleep(CHANGE_S)
    await server.stop(1.0)


def _assignment(name: str, chance: random.Random) -> bytes:
    message = ClusterLoadAssignment(cluster_name=name)
    locality = message.endpoints.add()
    for number in range(ENDPOINTS):
        endpoint = locality.lb_endpoints.add()
        endpoint.endpoint.address.socket_address.address = f"10.0.0.{number}"
        endpoint.endpoint.address.socket_address.port_value = 8080
        endpoint.load_balancing_weight.value = chance.randint(1, 1000)
    return message.SerializeToString()


async def connect(port: int, life_s: float) -> None:
    """The process with the clients, until it is ended."""
    await asyncio.gather(*(_client(port, number, life_s) for number in range(CLIENTS)))


async def _client(port: int, number: int, life_s: float) -> None:
    chance = random.Random(number)
    options = [("grpc.use_local_subchannel_pool", 1)]
    while True:
        with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with (
                asyncio.timeout(chance.expovariate(1.0 / life_s)),
                grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
            ):
                await _live(channel, number, chance)
        await asyncio.sleep(chance.uniform(0.0, 0.5))


async def serve_bare(duration_s: float) -> None:
    """grpc.aio without our server: one answer for each stream, and then it only reads."""
    connects = open_now = 0

    async def stream(_: object, context: Context) -> None:
        nonlocal connects, open_now
        connects, open_now = connects + 1, open_now + 1
        try:
            await context.read()
            answer = DiscoveryResponse(type_url=CLUSTER, nonce="1")
            await context.write(answer.SerializeToString())
            while (await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                pass
        finally:
            open_now -= 1

    method = grpc.stream_stream_rpc_method_handler(stream)
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    handlers = grpc.method_handlers_generic_handler(service, {"StreamAggregatedResources": method})
    server = grpc.aio.server(handlers=(handlers,))
    say({"port": server.add_insecure_port("127.0.0.1:0")})
    await server.start()
    began = time.monotonic()
    while (now_s := time.monotonic() - began) < duration_s:
        await asyncio.sleep(SAMPLE_S)
        gc.collect()
        say({"at_s": round(now_s, 1), **_process(), "streams": open_now, "connects": connects})
    await server.stop(1.0)


def _process() -> dict[str, int]:
    return {
        "rss_kb": rss_kb(),
        "blocks": sys.getallocatedblocks(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


async def _live(channel: grpc.aio.Channel, number: int, chance: random.Random) -> None:
    """Take clusters and the endpoints of all of them; refuse now and then."""
    path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
    call = method(wait_for_ready=True)
    names = [f"cluster-{each}" for each in range(CLUSTERS)]
    first = DiscoveryRequest(type_url=CLUSTER)
    first.node.id, first.node.cluster = f"client-{number}", GROUP
    await call.write(first.SerializeToString())
    second = DiscoveryRequest(type_url=ENDPOINT, resource_names=names)
    await call.write(second.SerializeToString())
    while (raw := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
        message = DiscoveryResponse.FromString(raw)
        answer = DiscoveryRequest(
            type_url=message.type_url,
            response_nonce=message.nonce,
            resource_names=names if message.type_url == ENDPOINT else [],
        )
        if chance.random() < REFUSED:
            answer.error_detail.message = "not this time"
        await call.write(answer.SerializeToString())


def growth(values: Sequence[float]) -> float:
    """How much the line of best fit rises over the last two thirds."""
    kept = np.asarray(values[len(values) // 3 :], dtype=np.float64)
    if len(kept) < 3:
        return 0.0
    slope = float(np.polyfit(np.arange(len(kept)), kept, 1)[0])
    return slope * (len(kept) - 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--life-s", type=float, default=LIFE_S, help="of a client, on average")
    parser.add_argument("--bare", action="store_true", help="grpc.aio alone; writes no result")
    parser.add_argument("--role", choices=["server", "clients"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        served = serve_bare if given.bare else serve
        clients_only = given.role == "clients"
        uvloop.run(
            connect(given.port, given.life_s) if clients_only else served(given.minutes * 60.0)
        )
        return 0
    command = [sys.executable, "-m", "benchmarks.xds_soak", *sys.argv[1:]]
    samples: list[dict[str, float]] = []
    server = subprocess.Popen([*command, "--role", "server"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    clients = None
    try:
        port = json.loads(server.stdout.readline())["port"]
        clients = subprocess.Popen([*command, "--role", "clients", "--port", str(port)])
        for line in server.stdout:
            samples.append(json.loads(line))
            print(line, end="", file=sys.stderr, flush=True)
    finally:
        for process in (clients, server):
            if process is not None:
                process.terminate()
                process.wait()
    memory = growth([one["rss_kb"] for one in samples])
    beyond = {
        name: growth([one[name] - per * one["streams"] for one in samples])
        for name, per in (("tasks", 2), ("descriptors", 1))
    }
    last, kept = samples[-1], samples[len(samples) // 3]
    result = {
        "what": "a server under changes, reconnects and refusals; growth over the last two thirds",
        "minutes": given.minutes,
        "memory_growth_kb": round(memory),
        "memory_growth": round(memory / last["rss_kb"], 4),
        "bytes_per_connect": round(memory * 1024 / max(1, last["connects"] - kept["connects"])),
        "growth_beyond_streams": {name: round(value, 1) for name, value in beyond.items()},
        "last": last,
        "samples": samples[:: max(1, len(samples) // 60)],
    }
    if not given.bare:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    flat = memory < MOST_GROWTH * last["rss_kb"] and max(beyond.values()) < MOST_MORE
    del result["samples"]
    print(json.dumps(result))
    print("flat" if flat else "NOT flat", file=sys.stderr)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
