"""What hostile or broken clients get from the xDS server, and what they do to the others.

    python -m benchmarks.xds_storms                  # every storm, about three minutes
    python -m benchmarks.xds_storms flood pings      # some of them, not kept

The server runs in a process of its own. A hundred clients in another take what they are sent. Five
times a second an assignment changes, and the time until 99 % of them have acknowledged it is
measured: before, during and after each storm, which comes from a third process
(`xds_offenders`). All share the machine, so a part of what the storms cost the others is their own
work. Beside it: the server's memory and CPU, and how the streams of the offenders ended.

Writes benchmarks/results/xds_storms.json, and the table in xds_storms.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import uvloop

from benchmarks.xds_offenders import STORMS, Storm
from benchmarks.xds_push import (
    GROUP,
    Job,
    assignments,
    connect,
    cpu_s,
    machine,
    rss_kb,
    say,
    until,
)
from benchmarks.xds_talk import CROWD
from controlplane._pb.route_pb2 import VirtualHost
from controlplane.xds import Limits, SnapshotCache, XdsServer
from controlplane.xds.kinds import CLUSTER, ENDPOINT, EXTENSION, RUNTIME, VIRTUAL_HOST
from controlplane.xds.status import Event

RESULTS = Path(__file__).parent / "results"
GOOD = 100
CHANGE_S = 0.2
QUIET_S = 1.5
LATE_S = 10.0
"""Longer than this is not waited for a change to arrive."""
LIMITS = Limits(first_request_s=2.0, write_s=2.0)
"""Shorter than they are by default (15 and 60 s), so that they fall into a storm."""
JOB = Job(
    streams=GOOD,
    clusters=10,
    endpoints=20,
    changed=1,
    pushes=0,
    rounds=0,
    delta=False,
    storm=False,
    connections=GOOD,
    bare=False,
)


@dataclass
class Window:
    """What happened between two looks at the server."""

    began_s: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=cpu_s)
    converged_s: list[float] = field(default_factory=list)
    most_kb: int = 0
    events: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Until it began."""


class Watched:
    """The server, its changes, and what is told of both."""

    def __init__(self) -> None:
        self._cache = SnapshotCache()
        self._messages = assignments(JOB)
        self._weights = random.Random(1)
        host = VirtualHost(name="routes/all", domains=["*.example.test", "*.other.example"])
        self._static = {
            CLUSTER: {f"name-{number}": b"x" * 1000 for number in range(20)},
            EXTENSION: {"large": b"x" * 4_000_000},
            RUNTIME: {},
            VIRTUAL_HOST: {"routes/all": host.SerializeToString()},
        }
        self._window = Window()
        self._due_s = time.monotonic()
        """When the next change is to be made, or the last was: who keeps the server from making it
        delays it too."""
        self._server = XdsServer(
            self._cache, address="127.0.0.1:0", observer=self._note, limits=LIMITS
        )

    async def run(self) -> None:
        """Until the end of standard input; a line of it is a question."""
        self._change()
        await self._server.start()
        say({"port": self._server.port})
        await until(lambda: self._server.counts.of(GROUP, ENDPOINT).acks >= GOOD)
        changing = asyncio.create_task(self._changing())
        while await asyncio.to_thread(sys.stdin.readline):
            say(self._told())
        changing.cancel()
        await self._server.stop(0.5)

    def _note(self, event: Event) -> None:
        self._window.events[type(event).__name__] += 1

    def _change(self) -> None:
        for endpoint in self._messages["cluster-0"].endpoints[0].lb_endpoints:
            endpoint.load_balancing_weight.value = self._weights.randint(1, 1000)
        bodies = {name: one.SerializeToString() for name, one in self._messages.items()}
        self._cache.set(GROUP, {ENDPOINT: bodies})
        self._cache.set(CROWD, {ENDPOINT: bodies, **self._static})

    async def _changing(self) -> None:
        counts = self._server.counts.of(GROUP, ENDPOINT)

        def acked(wanted: int) -> bool:
            return counts.acks >= wanted

        while True:
            await asyncio.sleep(self._due_s - time.monotonic())
            acks = counts.acks
            self._change()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LATE_S):
                    await until(partial(acked, acks + math.ceil(0.99 * GOOD)))
            self._window.converged_s.append(time.monotonic() - self._due_s)
            self._window.most_kb = max(self._window.most_kb, rss_kb())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LATE_S):
                    await until(partial(acked, acks + len(self._server.connections(GROUP))))
            self._due_s = max(self._due_s + CHANGE_S, time.monotonic())

    def _told(self) -> dict[str, Any]:
        window, self._window = self._window, Window()
        late_s = time.monotonic() - self._due_s
        if late_s > CHANGE_S or not window.converged_s:  # one that has not arrived
            window.converged_s.append(late_s)
        window.most_kb = max(window.most_kb, rss_kb())
        self._window.refused = Counter(self._server.counts.refused)
        cpu = (self._window.cpu_s - window.cpu_s) / (self._window.began_s - window.began_s)
        gc.collect()
        return {
            "changes": len(window.converged_s),
            "median_ms": round(statistics.median(window.converged_s) * 1e3, 1),
            "most_ms": round(max(window.converged_s) * 1e3, 1),
            "rss_kb": rss_kb(),
            "most_kb": window.most_kb,
            "cpu": round(cpu, 2),
            "events": dict(window.events),
            "refused": dict(Counter(self._server.counts.refused) - window.refused),
            "good": len(self._server.connections(GROUP)),
        }


class Process:
    """A process of this module that is asked in lines and answers in JSON."""

    def __init__(self, *arguments: str, errors: IO[bytes] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.xds_storms", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def ask(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


async def rage(storm: Storm, port: int) -> None:
    """The process of one storm: ready, waits for a line, rages, tells."""
    say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)
    here = await storm.rage(port)
    say({"ended": dict(here.got.most_common(5)), "did": here.did})


def measure(names: list[str]) -> list[dict[str, Any]]:
    rows = []
    with tempfile.NamedTemporaryFile() as log, open(log.name, "ab") as errors:
        server = Process("--role", "server", errors=errors)
        started = [server]
        try:
            port = str(server.read()["port"])
            started.append(Process("--role", "good", "--port", port))
            time.sleep(QUIET_S)
            server.ask()
            time.sleep(QUIET_S)
            before = server.ask()
            for name in names:
                log.read()
                offenders = Process("--role", name, "--port", port)
                started.append(offenders)
                offenders.read()
                server.ask()
                got = offenders.ask()
                during = server.ask()
                offenders.end()
                time.sleep(QUIET_S)
                after = server.ask()
                wrote = log.read().decode(errors="replace")
                rows.append(
                    {
                        "storm": name,
                        "what": STORMS[name].what,
                        "clients": STORMS[name].clients,
                        "seconds": STORMS[name].seconds,
                        **got,
                        "before": before,
                        "during": during,
                        "after": after,
                        "tracebacks": wrote.count("Traceback"),
                        "log": wrote[-1000:],
                    }
                )
                print(line(rows[-1]), file=sys.stderr, flush=True)
                before = after
        finally:
            for process in reversed(started):
                process.end()
    return rows


HEAD = [
    "| clients | how often | what they got (streams) | the others: before | during | after |"
    " server CPU | memory before, most, after |",
    "|---|---|---|---|---|---|---|---|",
]


def line(row: dict[str, Any]) -> str:
    ended = "; ".join(f"{how} ({number:,})" for how, number in row["ended"].items())
    windows = [row[when] for when in ("before", "during", "after")]
    times = [f"{one['median_ms']:.0f}, {one['most_ms']:.0f} ms" for one in windows]
    memory = [row["before"]["rss_kb"], row["during"]["most_kb"], row["after"]["rss_kb"]]
    lost = GOOD - row["after"]["good"]
    worse = f", **{lost} others lost**" if lost else ""
    worse += f", **{row['tracebacks']} tracebacks**" if row["tracebacks"] else ""
    return (
        f"| {row['clients']}: {row['what']} | {row['did']:,} in {row['seconds']:.0f} s "
        f"| {ended}{worse} | {' | '.join(times)} | {row['during']['cpu']:.0%} "
        f"| {', '.join(f'{kb / 1e3:.0f}' for kb in memory)} MB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("storms", nargs="*", help=f"of {', '.join(STORMS)}")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if given.role == "good":
            uvloop.run(connect(JOB, given.port))
        elif given.role == "server":
            logging.basicConfig()  # or gRPC keeps what goes wrong in a handler to itself
            gc.freeze()  # both as `weir serve` does it
            gc.set_threshold(20_000, 20, 20)
            uvloop.run(Watched().run())
        else:
            uvloop.run(rage(STORMS[given.role], given.port))
        return
    unknown = set(given.storms) - STORMS.keys()
    if unknown:
        parser.error(f"no such storm: {', '.join(sorted(unknown))}")
    note = machine()
    rows = measure(given.storms or list(STORMS))
    lines = [*HEAD, *map(line, rows)]
    print("\n".join(lines))
    if given.storms:
        return
    result = {"machine": note, "command": "python -m benchmarks.xds_storms", "storms": rows}
    (RESULTS / "xds_storms.json").write_text(json.dumps(result, indent=1) + "\n")
    text = [
        f"What some clients do to a server with {GOOD} others, which are sent a change five times "
        "a second. Of the others: the time until 99 % of them have acknowledged a change, median "
        "and most. The storms run on the same two cores. By `make storms`.",
        "",
        *lines,
    ]
    (RESULTS / "xds_storms.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
