"""Certificates that change again and again under load: no request fails, and no stream is dropped
that need not be."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.lab.envoy import Envoy
from controlplane.xds import Limits
from tests.certificates import Authority
from tests.envoy.test_replicas import get
from tests.envoy.test_xds import backend, eventually
from tests.envoy.test_xds_tls import CA, World, client_tls, identity, stat, world

pytestmark = [pytest.mark.envoy]

NAME = "envoy-1"
ROUNDS = 5
PERIOD_S = 0.005
LIMITS = Limits(look_s=0.05, connection_idle_s=0.1)
TAKEN_UP = "cluster.weir.client_ssl_socket_factory.ssl_context_update_by_sds"
HANDSHAKES = "cluster.weir.ssl.handshake"


@dataclass
class Load:
    """A request every few milliseconds, whether or not those before were answered."""

    port: int
    statuses: Counter[int] = field(default_factory=Counter)

    async def run(self) -> None:
        due_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as under_way:
            while True:
                under_way.create_task(self._one())
                due_s += PERIOD_S
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())

    async def _one(self) -> None:
        self.statuses[await get(self.port)] += 1


@contextlib.asynccontextmanager
async def loaded(port: int) -> AsyncIterator[Load]:
    load = Load(port)

    async def through() -> bool:
        return await get(port) == 200

    await eventually(through, "a request goes through")
    running = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        running.cancel()
        await asyncio.wait({running})


@dataclass
class Rotation:
    """A server and an Envoy whose files change."""

    here: World
    envoy: Envoy
    ports: tuple[int, int]
    pushes: int = 0

    async def push(self) -> None:
        """New weights, which Envoy takes on the stream that it has."""
        self.pushes += 1
        first, second = self.ports
        await self.here.takes_what_is_set(NAME, {first: 1 + self.pushes, second: 1})

    async def server_has(self, authority: Authority, trusted: bytes) -> None:
        """Another certificate for the server, and CAs for its clients, in force."""
        (files,) = self.here.server.files
        taken = files.taken
        self.here.server_files.put(authority.server(), trusted)

        async def in_force() -> bool:
            return files.taken > taken and not files.problem

        await eventually(in_force, "the server has taken its files")

    async def envoy_has(self, authority: Authority, trusted: bytes) -> None:
        """Another certificate for Envoy, which it will show next time."""
        before = await stat(self.envoy, TAKEN_UP)
        issued = authority.issue(uris=[identity(NAME)])
        self.here.files_of(NAME).put(issued, trusted)

        async def taken_up() -> bool:
            return await stat(self.envoy, TAKEN_UP) > before

        await eventually(taken_up, "Envoy has taken its files")

    async def shake_hands(self) -> None:
        """End its stream until it comes back on another connection."""
        before = await stat(self.envoy, HANDSHAKES)

        async def again() -> bool:
            for one in self.here.server.connections():
                await one.close("UNAVAILABLE", "come again")
            await asyncio.sleep(0.3)  # an idle connection is closed
            return await stat(self.envoy, HANDSHAKES) > before

        await eventually(again, "Envoy comes back on another connection")


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def test_no_request_fails_while_every_certificate_changes_again_and_again(
    tmp_path: Path, delta: bool
) -> None:
    async with (
        backend("a") as a,
        backend("b") as b,
        world(tmp_path, a.port, limits=LIMITS) as here,
    ):
        files = here.files_of(NAME).put(CA.issue(uris=[identity(NAME)]), CA.pem)
        tls = client_tls(tmp_path / "sds", files)
        async with here.envoy(NAME, tls, delta=delta) as envoy, loaded(here.port) as load:
            rotation = Rotation(here, envoy, (a.port, b.port))
            await rotation.push()
            for _ in range(ROUNDS):
                await rotation.server_has(CA, CA.pem)
                await rotation.push()
            assert here.server.counts.connects == 1, "the stream was dropped"
            present = CA
            for number in range(ROUNDS):
                following = Authority(f"ca-{number}")
                connects = here.server.counts.connects
                await rotation.server_has(present, present.pem + following.pem)
                await rotation.push()
                await rotation.envoy_has(following, present.pem + following.pem)
                await rotation.push()
                await rotation.server_has(following, following.pem)
                await rotation.push()
                assert here.server.counts.connects == connects, "the stream was dropped"
                await rotation.shake_hands()
                await rotation.push()
                present = following
            assert set(here.server.counts.refused) == {"UNAVAILABLE"}  # by us, to shake hands
            in_force = f"127.0.0.1:{a.port}::weight::{1 + rotation.pushes}"
            assert in_force in await envoy.get("/clusters")
        requests = load.statuses.total()
        print(f"{requests} requests, {rotation.pushes} pushes, {dict(load.statuses)}")
        assert set(load.statuses) == {200}
        assert requests > 100
