"""What Envoy's data path costs under Weir's configuration, beside configurations written by hand.

    .venv/bin/python -m benchmarks.data_path              about 7 minutes; --quick: two

Every lane is an Envoy with one worker on a core of its own; client, backend (an Envoy that answers
by itself) and `weir serve` have the other cores. In every round each lane gets the same load for
the same time, one after the other: as many requests as it takes. The figure is requests for each
second of CPU time of that Envoy, all its threads; it hardly depends on what else the machine does.
A request counts where the client saw 200 and the Envoy counted 2xx, and both must have the same
number. Weir's lanes are configured by `weir serve` over xDS; access logs, load reports and weights
flow as they do by default. How many requests are logged, Weir chooses from their rate, and takes
some seconds for it; so it does under a steady load before the rounds, and that is held in them.

Then an open loop at half of what the minimal lane takes: latency as clients see it.

Writes benchmarks/results/data_path.json and .md. A machine that is busy with other things is
refused, unless --anyway is given, and the results say so then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # processes are started beside gRPC

import jwt
import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import path_by_hand as by_hand
from benchmarks import path_declared as declared
from benchmarks.path_load import (
    STREAMS,
    Client,
    Machine,
    Shares,
    as_fast_as_it_goes,
    at_a_rate,
    cpu_ns,
    on_cores,
)
from benchmarks.path_report import Result, markdown
from controlplane.lab.envoy import Envoy, run_envoy
from controlplane.lab.ports import free_ports, require_one_listener
from controlplane.lab.weir import WeirServe
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING
from controlplane.translate.shares import PER_PERCENT
from tests.certificates import Authority

RESULTS = Path(__file__).parent / "results"
ENDPOINTS = 4
IN_FLIGHT = 64
CONNECTIONS = 64
"""Of the open loop."""
AT_ONCE = 400
"""Connections that are opened for one request each."""
SETTLED_S = 15.0
"""Weir looks every 5 s how much is to be logged."""
COUNTED_S = 2.0
"""How long the Envoy's counters may take to have what the client has."""
OVER_TLS = "TLS, HTTP/2"
DIRECT = "direct"
LATENCIES = (
    DIRECT,
    "minimal",
    declared.PLAIN,
    "minimal-tls",
    declared.CAREFUL,
    "careful-by-hand",
)


@dataclass(frozen=True, slots=True)
class Lane:
    """An Envoy, and who calls it."""

    name: str
    envoy: Envoy
    client: Client

    @property
    def pid(self) -> int:
        return self.envoy.process.pid

    async def counted(self) -> int:
        """Requests that its listener answered 2xx."""
        return sum((await self.envoy.stats("^http[.]http.*[.]downstream_rq_2xx$")).values())

    async def sampled_percent(self) -> float | None:
        """Requests that are told to Weir; None where it is not known."""
        told = json.loads(await self.envoy.get("/runtime"))["entries"].get(ACCESS_LOG_SAMPLING)
        return None if told is None else float(told["final_value"]) / PER_PERCENT

    async def sample(self, percent: float) -> None:
        """From now on, whatever Weir says."""
        value = f"{ACCESS_LOG_SAMPLING}={round(percent * PER_PERCENT)}"
        await self.envoy.get(f"/runtime_modify?{value}", method="POST")


@dataclass(frozen=True, slots=True)
class Slice:
    """One lane in one round."""

    requests: int
    cpu_s: float
    wall_s: float
    sampled_percent: float | None

    @property
    def per_cpu_s(self) -> float:
        return self.requests / self.cpu_s


@dataclass(frozen=True, slots=True)
class Keys:
    """What clients and Envoys show one another."""

    tls: tuple[str, str]
    jwks: str
    token: str

    @classmethod
    def made(cls) -> Keys:
        issued = Authority().issue(dns=("localhost",))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        jwks = json.dumps({"keys": [{**public, "kid": "one", "alg": "RS256"}]})
        claims = {
            "iss": by_hand.ISSUER,
            "aud": "shop",
            "sub": "ann",
            "exp": int(time.time()) + 7200,
        }
        token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"})
        return cls((issued.certificate.decode(), issued.key.decode()), jwks, token)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that runs."""

    lanes: Mapping[str, Lane]
    direct: Client
    pids: tuple[int, ...]


def cores() -> tuple[set[int], set[int]]:
    """Those of the Envoys that are measured, and the others; the same where there is but one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


@contextlib.asynccontextmanager
async def world(folder: Path, measured: set[int]) -> AsyncIterator[World]:
    """Backend, `weir serve` and all lanes, ready; their Envoys on these cores."""
    keys = Keys.made()
    hands = ("minimal", "minimal-tls", "careful-by-hand")
    names = [*hands, *declared.STEPS]
    ports = free_ports(ENDPOINTS + 2 * len(names) + 1)
    backends, rest = ports[:ENDPOINTS], ports[ENDPOINTS:]
    listening = dict(zip(names, rest[::2], strict=False))
    admins = dict(zip(names, rest[1::2], strict=False))
    steps = {name: listening[name] for name in declared.STEPS}
    served = WeirServe(folder)
    served.declare(declared.documents(steps, backends, keys.tls, keys.jwks))
    async with contextlib.AsyncExitStack() as stack:
        own = by_hand.backend(backends, rest[-1])
        behind = await stack.enter_async_context(run_envoy(own, folder, name="backend"))
        await served.start()
        stack.push_async_callback(served.stop)
        await served.wait_ready()
        assert served.process is not None
        bootstraps = {
            "minimal": by_hand.minimal(listening["minimal"], admins["minimal"], backends),
            "minimal-tls": by_hand.minimal(
                listening["minimal-tls"], admins["minimal-tls"], backends, keys.tls
            ),
            "careful-by-hand": by_hand.careful(
                listening["careful-by-hand"],
                admins["careful-by-hand"],
                backends,
                keys.tls,
                keys.jwks,
            ),
            **{name: _by_weir(name, served.xds_port, admins[name]) for name in declared.STEPS},
        }
        lanes = {}
        for name in names:
            with on_cores(measured):
                running = run_envoy(bootstraps[name], folder, name=name)
                envoy = await stack.enter_async_context(running)
            lanes[name] = Lane(name, envoy, _client(name, listening[name], keys.token))
        require_one_listener([*listening.values(), *backends])
        pids = [behind.process.pid, served.process.pid, *(lane.pid for lane in lanes.values())]
        yield World(lanes, Client(f"http://127.0.0.1:{backends[0]}/"), tuple(pids))


def _by_weir(name: str, xds_port: int, admin_port: int) -> dict[str, Any]:
    made = ads_bootstrap(
        node_id=name,
        fleet=declared.fleet(name),
        xds_port=xds_port,
        admin_port=admin_port,
        workers=1,
    )
    made["layered_runtime"]["layers"].append({"name": "held", "admin_layer": {}})
    return made


def _client(name: str, port: int, token: str) -> Client:
    if name in ("minimal", declared.PLAIN):
        return Client(f"http://127.0.0.1:{port}/")
    plain = name in ("minimal-tls", declared.TLS)
    headers = () if plain else (f"authorization: Bearer {token}",)
    return Client(f"https://127.0.0.1:{port}/", http_2=True, headers=headers)


async def one_slice(lane: Lane, requests: int, in_flight: int = IN_FLIGHT) -> Slice:
    """So many requests, and what they cost. Raises `RuntimeError` where the client and the Envoy
    do not count the same."""
    counted, spent_ns = await lane.counted(), cpu_ns(lane.pid)
    done = await as_fast_as_it_goes(lane.client, requests, in_flight)
    end_s = time.monotonic() + COUNTED_S
    while (found := await lane.counted() - counted) < requests:
        if time.monotonic() > end_s:
            break
        await asyncio.sleep(0.01)
    spent_ns = cpu_ns(lane.pid) - spent_ns
    if found != done.answered:
        raise RuntimeError(f"{lane.name}: answered {done.answered}, counted {found}")
    return Slice(requests, spent_ns / 1e9, done.seconds, await lane.sampled_percent())


async def warm(lane: Lane, seconds: float) -> float:
    """Until it serves, then for about so long. Requests a second that it takes."""
    end_s = time.monotonic() + 30.0
    while True:
        try:
            await as_fast_as_it_goes(lane.client, IN_FLIGHT, IN_FLIGHT)
            break
        except RuntimeError:
            if time.monotonic() > end_s:
                raise
            await asyncio.sleep(0.2)
    rate = 4000.0
    for part_s in (0.2, 0.8 * seconds):
        made = await one_slice(lane, round(rate * part_s))
        rate = made.requests / made.wall_s
    return rate


async def settled_percent(lane: Lane) -> float:
    """The part of the requests that Weir wants to be told of under the load of this lane."""
    end_s = time.monotonic() + SETTLED_S
    while time.monotonic() < end_s:
        await as_fast_as_it_goes(lane.client, 10_000, IN_FLIGHT)
    percent = await lane.sampled_percent()
    assert percent is not None, "Weir has sent no runtime"
    return percent


async def new_connections(lanes: Sequence[Lane], rounds: int) -> dict[str, list[float]]:
    """CPU microseconds of each lane for a connection with one request, TLS without resumption."""
    found: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    for _ in range(rounds):
        for lane in lanes:
            count = AT_ONCE * (STREAMS if lane.client.http_2 else 1)
            made = await one_slice(lane, AT_ONCE, in_flight=count)
            found[lane.name].append(round(1e6 * made.cpu_s / AT_ONCE, 1))
    return found


async def in_turn(
    lanes: Sequence[Lane], rates: Mapping[str, float], rounds: int, slice_s: float
) -> dict[str, list[Slice]]:
    """The rounds; each begins with another lane."""
    found: dict[str, list[Slice]] = {lane.name: [] for lane in lanes}
    for at in range(rounds):
        turn = at % len(lanes)
        for lane in (*lanes[turn:], *lanes[:turn]):
            made = await one_slice(lane, round(rates[lane.name] * slice_s))
            found[lane.name].append(made)
        told = ", ".join(f"{name} {slices[-1].per_cpu_s:.0f}" for name, slices in found.items())
        print(f"round {at + 1} of {rounds}: {told}", file=sys.stderr, flush=True)
    return found


async def latencies(
    clients: Mapping[str, Client], rate_rps: float, rounds: int, seconds: float
) -> dict[str, list[tuple[float, float]]]:
    """The median and the 99th percentile of each in each round, in milliseconds."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for at in range(rounds):
        for name, client in clients.items():
            took_s = await at_a_rate(client, rate_rps, seconds, CONNECTIONS)
            p50, p99 = np.percentile(took_s, (50, 99)) * 1e3
            found[name].append((round(float(p50), 3), round(float(p99), 3)))
        told = ", ".join(
            f"{name} {rows[-1][0]:.2f}/{rows[-1][1]:.2f}" for name, rows in found.items()
        )
        print(f"latency {at + 1} of {rounds}: {told}", file=sys.stderr, flush=True)
    return found


async def measure(options: argparse.Namespace) -> Result:
    """All of it."""
    measured, others = cores()
    with tempfile.TemporaryDirectory() as folder, on_cores(others):
        async with world(Path(folder), measured) as made:
            before = await _idle(made, options)
            rates = {name: await warm(lane, 2.0) for name, lane in made.lanes.items()}
            percent = options.sampled
            if percent is None:
                percent = await settled_percent(made.lanes[declared.PLAIN])
            for name in declared.STEPS:
                await made.lanes[name].sample(percent)
            start = Machine.now(made.pids)
            slices = await in_turn(
                list(made.lanes.values()), rates, options.rounds, options.slice_s
            )
            between = Machine.now(made.pids)
            opened = [made.lanes[name] for name in (declared.PLAIN, declared.TLS)]
            connected_us = await new_connections(opened, options.rounds)
            half = 0.5 * float(np.median([one.requests / one.wall_s for one in slices["minimal"]]))
            callers = {
                name: made.lanes[name].client if name != DIRECT else made.direct
                for name in LATENCIES
            }
            took = await latencies(callers, half, options.latency_rounds, options.latency_s)
            end = Machine.now(made.pids)
    return Result(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        command="python -m benchmarks.data_path " + " ".join(sys.argv[1:]),
        rounds=options.rounds,
        slice_s=options.slice_s,
        before=before,
        throughput=between.since(start),
        latency=end.since(between),
        slices={name: [asdict(one) for one in rows] for name, rows in slices.items()},
        connected_us=connected_us,
        half_rps=round(half),
        latencies_ms=took,
    )


async def _idle(made: World, options: argparse.Namespace) -> Shares:
    """What the machine does besides, before anything is measured."""
    start = Machine.now(made.pids)
    await asyncio.sleep(3.0)
    found = Machine.now(made.pids).since(start)
    if not found.quiet and not options.anyway:
        sys.exit(
            f"the machine is busy with other things ({found.others:.0%} of its cores, "
            f"{found.stolen:.0%} stolen): try later, or with --anyway"
        )
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((one.split(":")[1].strip() for one in lines if one.startswith("model name")), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slice", dest="slice_s", type=float, default=1.0, help="seconds")
    parser.add_argument("--latency-rounds", type=int, default=4)
    parser.add_argument("--latency-s", type=float, default=4.0, help="seconds of a lane in a round")
    parser.add_argument(
        "--sampled",
        type=float,
        help="percent of the requests that are logged, where the machine is too busy for the rate "
        "from which Weir would choose it",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter; writes nothing")
    parser.add_argument("--anyway", action="store_true", help="on a busy machine too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.slice_s = 6, 0.5
        options.latency_rounds, options.latency_s = 1, 2.0
    result = asyncio.run(measure(options))
    told = markdown(result)
    print(told)
    if not options.quick:
        written: dict[str, Any] = asdict(result)
        (RESULTS / "data_path.json").write_text(json.dumps(written, indent=2) + "\n")
        (RESULTS / "data_path.md").write_text(told)


if __name__ == "__main__":
    main()
