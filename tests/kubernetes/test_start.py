"""A start begins with what was kept, and waits for the API server no longer than it is told."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.errors import StoreError
from controlplane.kubernetes.keeping import PAUSE_S, TIMES_AS_LONG, Keeper
from controlplane.resources import Loaded
from controlplane.resources.earlier import refused
from controlplane.resources.kept import Kept
from controlplane.store import DeclaredFile
from tests.certificates import Authority
from tests.kubernetes.scene import Follower, Scene, connected
from tests.kubernetes.test_source import sent
from tests.kubernetes.test_status import BAD_ROUTE
from tests.kubernetes.test_trouble import at, has, until
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE


@pytest.fixture
def cluster(one_scene: Scene) -> Iterator[Scene]:
    yield one_scene
    one_scene.clear()


async def served(cluster: Scene, folder: Path, *documents: str) -> Loaded:
    """What an earlier process told last, as it put in these documents one after the other."""
    keeps = DeclaredFile(folder)
    async with connected(cluster.server, folder) as api, Follower(api, keeps=keeps) as follower:
        loaded = await follower.next()
        for one in documents:
            cluster.put(one)
            loaded = await follower.next()
    return loaded  # what was told last is kept when the process ends


async def test_while_the_server_is_gone_a_start_tells_what_was_told_last(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    before = await served(cluster, tmp_path, at("10.0.0.5"))
    cluster.server.refuse_connections()
    async with connected(cluster.server, tmp_path) as api:
        keeps = DeclaredFile(tmp_path)
        async with Follower(api, keeps=keeps, wait_s=0.1) as follower:
            told = await follower.next()
            assert sent(told) == sent(before)
            assert [one.file for one in told.problems] == ["Kubernetes"]
            assert follower.source.stale is told
            assert not follower.source.seen.held  # of which no status can be written

            cluster.server.faults.fail(verbs=["list"], resource="backends.weir.dev", times=2)
            cluster.server.accept_connections()
            cluster.put(at("10.0.0.7"))
            known = await follower.next()  # the next that is told is complete
            assert has("10.0.0.7")(known)
            assert not known.problems
            assert follower.source.stale is None
    kept = DeclaredFile(tmp_path).load()
    assert kept is not None
    assert b"10.0.0.7" in kept.documents["Backend/default/web"]


async def test_what_is_refused_keeps_its_last_valid_version_over_a_start(
    cluster: Scene, tmp_path: Path
) -> None:
    """With the server there, and without."""
    cluster.put(GATEWAY, ROUTE, BACKEND)
    before = await served(cluster, tmp_path, BAD_ROUTE)
    assert before.refusals
    for gone in (False, True):
        if gone:
            cluster.server.refuse_connections()
        async with connected(cluster.server, tmp_path) as api:
            keeps, wait_s = DeclaredFile(tmp_path), 0.1 if gone else 20.0
            async with Follower(api, keeps=keeps, wait_s=wait_s) as follower:
                told = await follower.next()
                assert sent(told) == sent(before)
                assert told.refusals == before.refusals
                assert (follower.source.stale is not None) == gone
    cluster.server.accept_connections()


async def test_what_is_refused_has_the_version_of_those_who_were_there(
    cluster: Scene, tmp_path: Path
) -> None:
    """Of a route and of the Secret of its Gateway. One that is new tells nothing before it heard
    the others, or heard that it does not; and what is mended or deleted is nobody's any more."""
    authority = Authority()
    issued = authority.issue(dns=["web.example"])
    values = {"tls.crt": issued.certificate, "tls.key": issued.key}
    pair = {name: base64.b64encode(value).decode() for name, value in values.items()}
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
    secret["metadata"] = {"name": "held"}
    gateway = GATEWAY.replace(
        "protocol: HTTP", "protocol: HTTPS, tls: {certificateRefs: [{name: held}]}"
    )
    cluster.put(gateway, ROUTE, BACKEND, yaml.safe_dump({**secret, "data": pair}))
    async with connected(cluster.server, tmp_path) as api, Follower(api) as old:
        good = await old.next()
        assert not good.problems
        cluster.put(BAD_ROUTE, yaml.safe_dump({**secret, "data": {**pair, "tls.key": "YQ=="}}))
        files = {"HTTPRoute/default/web", "Secret/default/held"}
        await old.until(lambda one: refused(one) == files)
        assert old.source.offered.keys() == files
        asked = asyncio.Event()

        async def informed() -> None:
            new.source.hear(old.source.offered, leads=True)
            asked.set()

        async with Follower(api, informed=informed) as new, Follower(api) as alone:
            first, nothing = await new.next(), await alone.next()
            assert asked.is_set()
            assert sent(first) == sent(good)
            assert refused(first) == files
            assert sent(nothing) != sent(good)
            assert alone.source.offered == {}

            alone.source.hear(new.source.offered, leads=False)  # later is well, too
            assert sent(await alone.next()) == sent(good)
            assert alone.source.offered == new.source.offered == old.source.offered
            alone.source.hear(new.source.offered, leads=True)  # and is no news

            cluster.put(ROUTE.replace("name: edge", "name: edge\n  hostnames: [mended]"))
            cluster.put(yaml.safe_dump({**secret, "data": pair}))
            for one in (old, new, alone):
                mended = await one.until(lambda loaded: not loaded.problems)
                assert "mended" in str(mended.declared.routes["default/web"])
                assert one.source.offered == {}
            cluster.put(BAD_ROUTE)
            for one in (old, new):
                await one.until(lambda loaded: bool(loaded.refusals))
            new.source.hear(old.source.offered, leads=True)
            cluster.delete("HTTPRoute", "web")
            assert not (await new.until(lambda one: not one.refusals)).declared.routes
            cluster.put(BAD_ROUTE)
            again = await new.until(lambda one: bool(one.refusals))
            assert not again.declared.routes
            assert not new.source._heard.said()


async def test_what_was_deleted_meanwhile_is_gone(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    await served(cluster, tmp_path)
    cluster.delete("HTTPRoute", "web")
    keeps = DeclaredFile(tmp_path)
    async with connected(cluster.server, tmp_path) as api, Follower(api, keeps=keeps) as follower:
        assert not (await follower.next()).declared.routes


async def test_what_cannot_be_used_is_not_told(cluster: Scene, tmp_path: Path) -> None:
    """What is of another place, what is damaged, and nothing."""
    cluster.put(GATEWAY, ROUTE, BACKEND)
    await served(cluster, tmp_path)
    path, keeps = tmp_path / "declared", DeclaredFile(tmp_path)
    whole = path.read_bytes()
    cluster.server.refuse_connections()
    for content, namespace in ((whole, "default"), (whole[:-1], ""), (b"", "")):
        path.write_bytes(content)
        async with (
            connected(cluster.server, tmp_path) as api,
            Follower(api, namespace=namespace, keeps=keeps, wait_s=0.0) as follower,
        ):
            telling = asyncio.create_task(follower.next())
            await asyncio.sleep(0.1)
            assert not telling.done()
            telling.cancel()
            await asyncio.wait({telling})
    cluster.server.accept_connections()
    async with (
        connected(cluster.server, tmp_path) as api,
        Follower(api, keeps=keeps, wait_s=0.0) as follower,
    ):
        assert not (await follower.next()).problems


class Slow:
    """A store with a clock: each write takes a second of it."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.now_s = 0.0
        self.broken = False

    def load(self) -> Kept | None:
        return None

    def save(self, kept: Kept) -> None:
        self.now_s += 1.0
        if self.broken:
            raise StoreError("the disk is full")
        self.saved.append(kept.source)


async def test_the_newest_is_kept_at_a_tenth_of_the_time_and_the_last_at_the_end() -> None:
    store, waits, go = Slow(), list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await go.wait()
        go.clear()

    keeper = Keeper(store, clock=lambda: store.now_s, sleep=sleep)
    running = asyncio.create_task(keeper.run())
    keeper.put(Kept("1", {}))
    await until(lambda: len(waits) == 1)
    keeper.put(Kept("2", {}))
    keeper.put(Kept("3", {}))
    store.broken = True
    go.set()
    await until(lambda: len(waits) == 2)
    store.broken = False
    keeper.put(Kept("4", {}))
    running.cancel()
    await asyncio.wait({running})
    assert store.saved == ["1", "4"]
    assert waits == [TIMES_AS_LONG, TIMES_AS_LONG]
    assert PAUSE_S < TIMES_AS_LONG
