"""A control plane in this process, with the admin address that the commands of Weir ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.api.app import Side, create_app
from controlplane.api.server import HttpServer
from controlplane.front.proxies import Clock, proxies, proxy, resources
from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.kinds import KINDS
from controlplane.xds.status import Event

FLEET = "edge"
NODE = "team/envoy-1"
DEADLINE_S = 30.0

_URLS = {kind.name: kind.type_url for kind in KINDS.values()}


class StatusConsole:
    """The part of the admin address that tells of Envoys; nothing is declared or decided here."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    def about(self) -> dict[str, Any]:
        return {}

    def ready(self) -> tuple[bool, str]:
        return True, "ready"

    def services(self) -> list[dict[str, Any]]:
        return []

    async def explain(self, service: str, *, attributed: bool = False) -> dict[str, Any] | None:
        return None

    async def proxies(self) -> list[dict[str, Any]]:
        return proxies(self._server.connections(), Clock())

    async def proxy(self, node: str) -> dict[str, Any] | None:
        return proxy(self._server.connections(), node, Clock())

    async def resources(self, node: str, side: Side, only: str | None) -> dict[str, Any] | None:
        return resources(self._server.connections(), node, side, only)

    def problems(self) -> list[dict[str, Any]]:
        return []

    def replica(self) -> dict[str, Any] | None:
        return None

    async def status(self) -> list[dict[str, Any]]:
        return []

    def explain_route(
        self, method: str, url: str, headers: Sequence[str], gateway: str | None
    ) -> list[dict[str, Any]]:
        raise NotImplementedError

    def freeze(self, service: str | None, reason: str, by: str) -> None:
        raise NotImplementedError

    def resume(self, service: str | None) -> Sequence[str]:
        raise NotImplementedError


@dataclass
class Plane:
    """What the test publishes, and where it is served."""

    cache: SnapshotCache
    server: XdsServer
    admin: str
    held: dict[str, dict[str, bytes]]
    events: list[Event]
    """What is told for the log."""

    def publish(self, **types: dict[str, bytes]) -> None:
        """Replace whole types of the snapshot by its short name, such as cds or eds."""
        self.held |= {_URLS[name]: bodies for name, bodies in types.items()}
        self.cache.set(FLEET, self.held)

    async def synced(self, node: str = NODE) -> None:
        """Until everything that the Envoy asked for is in force, as far as it said."""
        await self.until(
            lambda types: all(one["state"] == "SYNCED" for one in types.values()), node
        )

    async def refused(self, kind: str) -> None:
        """Until the Envoy refuses something of this type."""
        await self.until(lambda types: bool(types.get(kind, {}).get("nacked")))

    async def until(self, condition: Any, node: str = NODE) -> None:  # noqa: ANN401
        """Until a condition on the types of the Envoy's status holds."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = proxy(self.server.connections(), node, Clock())
                if found is not None and found["types"] and condition(found["types"]):
                    return
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def plane(**types: dict[str, bytes]) -> AsyncIterator[Plane]:
    cache = SnapshotCache()
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)

    server = XdsServer(cache, address="127.0.0.1:0", observer=observe)

    async def metrics() -> bytes:
        return b""

    admin = HttpServer(create_app(StatusConsole(server), metrics, ["127.0.0.1"]))
    port = admin.bind("127.0.0.1", 0)
    await server.start()
    serving = asyncio.create_task(admin.serve())
    try:
        made = Plane(cache, server, f"127.0.0.1:{port}", {}, events)
        made.publish(**types)
        yield made
    finally:
        admin.stop()
        await serving
        await server.stop(0.2)


@contextlib.asynccontextmanager
async def own_envoy(made: Plane, folder: Path, *, delta: bool = False) -> AsyncIterator[Envoy]:
    bootstrap = ads_bootstrap(
        node_id=NODE,
        fleet=FLEET,
        xds_port=made.server.port,
        admin_port=free_port(),
        delta=delta,
        load_reports=False,
    )
    async with run_envoy(bootstrap, folder) as envoy:
        yield envoy


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401
        """What it printed, as JSON."""
        return json.loads(self.out)


async def weir(*arguments: str) -> Done:
    """Run a command of ours, wide enough that no table is folded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "controlplane.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "250", "NO_COLOR": "1"},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())
