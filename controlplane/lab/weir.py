"""The Weir lane: `weir serve` as a child process, its documents, and Envoys that own nothing.

On one machine two Envoys cannot listen on one port apart from each other, so each Envoy is a fleet
of its own: as many Gateways as Envoys, an HTTPRoute for each 32 of them, one Backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from controlplane.errors import StartupError
from controlplane.lab.envoy import die_with_parent, kill_now, log_tail
from controlplane.lab.lanes import Lane, run_envoys, wait_serving
from controlplane.lab.ports import free_ports, require_one_listener
from controlplane.lab.stock import CLUSTER, ROUTE_TIMEOUT
from controlplane.translate.bootstrap import ads_bootstrap

NAME = "weir"
MOST_PARENTS = 32
"""Of a route: the Gateway API allows no more."""
_BACKEND = CLUSTER.partition("/")[2]


def documents(
    listeners: Sequence[int],
    backends: Sequence[int],
    policy: str,
    interval: str = "1s",
    actuation: str = "auto",
) -> list[dict[str, Any]]:
    """What a person would declare for this lane."""
    gateways = [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": gateway_name(i)},
            "spec": {
                "gatewayClassName": "weir",
                "addresses": [{"value": "127.0.0.1"}],
                "listeners": [{"name": "http", "protocol": "HTTP", "port": port}],
            },
        }
        for i, port in enumerate(listeners)
    ]
    routes = [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": f"demo-{first}" if first else "demo"},
            "spec": {
                "parentRefs": [
                    {"name": gateway_name(i)}
                    for i in range(first, min(first + MOST_PARENTS, len(listeners)))
                ],
                "rules": [
                    {
                        "backendRefs": [{"group": "weir.dev", "kind": "Backend", "name": _BACKEND}],
                        "timeouts": {"request": ROUTE_TIMEOUT},
                    }
                ],
            },
        }
        for first in range(0, len(listeners), MOST_PARENTS)
    ]
    backend = {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "Backend",
        "metadata": {"name": _BACKEND},
        "spec": {
            "endpoints": [{"ip": {"address": "127.0.0.1", "port": port}} for port in backends]
        },
    }
    balancing = {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "BalancingPolicy",
        "metadata": {"name": _BACKEND},
        "spec": {
            "targetRefs": [{"group": "weir.dev", "kind": "Backend", "name": _BACKEND}],
            "policy": policy,
            "interval": interval,
            "actuation": actuation,
        },
    }
    return [*gateways, *routes, backend, balancing]


def gateway_name(i: int) -> str:
    """The Gateway of the i-th Envoy."""
    return f"edge-{i + 1:02d}"


class WeirServe:
    """`weir serve` as a child that can be killed and started again."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.xds_port, self.admin_port = free_ports(2)
        self.config = folder / "config"
        self.config.mkdir(parents=True, exist_ok=True)
        self.log = folder / "weir-serve.log"
        self.process: asyncio.subprocess.Process | None = None
        self._state = folder / "state"
        self._options = tuple(options)

    def declare(self, declared: Sequence[dict[str, Any]]) -> None:
        """Write the documents, atomically; a running one applies them."""
        draft = self.config / ".demo.yaml.new"
        draft.write_text(yaml.safe_dump_all(declared, sort_keys=False))
        draft.replace(self.config / "demo.yaml")

    async def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command(),
                *("serve", "--config", str(self.config), "--state-dir", str(self._state)),
                *("--xds-address", f"127.0.0.1:{self.xds_port}"),
                *("--admin-address", f"127.0.0.1:{self.admin_port}"),
                *self._options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )

    async def wait_ready(self, deadline_s: float = 60.0) -> None:
        """Until /readyz says 200. Raises `StartupError` with the end of its log."""
        end = time.monotonic() + deadline_s
        answer = "no answer"
        while time.monotonic() < end:
            if self.process is None or self.process.returncode is not None:
                answer = "it ended"
                break
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                status, body = await self.get("/readyz", 2.0)
                if status == 200:
                    return
                answer = body.decode(errors="replace").strip()
            await asyncio.sleep(0.1)
        raise StartupError(f"weir serve is not ready: {answer}; its log ends:\n{self.tail()}")

    async def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            kill_now(self.process)
            await self.process.wait()

    async def stop(self, deadline_s: float = 3.0) -> None:
        """SIGTERM, then kill -9 when it takes too long."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                os.kill(self.process.pid, signal.SIGTERM)
                await asyncio.wait_for(self.process.wait(), deadline_s)
        await self.kill()

    async def get(self, path: str, deadline_s: float = 2.0) -> tuple[int, bytes]:
        """Status and body of a page of the admin address."""
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.admin_port}\r\n"
                    "connection: close\r\n\r\n".encode()
                )
                raw = await reader.read()
            finally:
                writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split(maxsplit=2)[1]), body

    async def explain(self, service: str = CLUSTER) -> dict[str, Any] | None:
        """The last tick of a service, or None when it cannot be had now."""
        try:
            status, body = await self.get(f"/v1/services/{service}/explain")
            document = json.loads(body) if status == 200 else None
        except (OSError, TimeoutError, ValueError, IndexError):
            return None
        return document if isinstance(document, dict) else None

    def tail(self) -> str:
        """The last lines of its log."""
        return log_tail(self.log)


def command() -> list[str]:
    """How to start `weir`: the script beside this Python, or the module."""
    script = Path(sys.executable).with_name("weir")
    return [str(script)] if script.exists() else [sys.executable, "-m", "controlplane.cli"]


@contextlib.asynccontextmanager
async def run_weir_lane(
    backends: Sequence[int],
    folder: Path,
    *,
    envoys: int,
    policy: str = "learned",
    options: Sequence[str] = (),
    load_reports: bool = True,
    ports: Sequence[int] | None = None,
    name: str = NAME,
    actuation: str = "auto",
) -> AsyncIterator[tuple[Lane, WeirServe]]:
    """`weir serve` and its Envoys over backends on these ports.

    `ports` are those of the Envoys' listeners and then of their admin interfaces, for who has to
    know them before; a Prometheus that scrapes them, for Envoys without load reports.
    """
    ports = list(ports) if ports is not None else free_ports(2 * envoys)
    listeners, admins = ports[:envoys], ports[envoys:]
    served = WeirServe(folder, options)

    def assign(now: Sequence[int]) -> None:
        served.declare(documents(listeners, now, policy, actuation=actuation))

    assign(backends)
    await served.start()
    try:
        await served.wait_ready()
        bootstraps = [
            ads_bootstrap(
                node_id=f"{name}-{i:02d}",
                fleet=f"default/{gateway_name(i)}",
                xds_port=served.xds_port,
                admin_port=admin,
                load_reports=load_reports,
            )
            for i, admin in enumerate(admins)
        ]
        async with run_envoys(bootstraps, folder, name=name) as running:
            await wait_serving(listeners, running)
            require_one_listener(ports)
            yield Lane(name, f"Weir ({policy})", tuple(listeners), running, assign), served
    finally:
        await served.stop()
