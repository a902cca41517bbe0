"""When the API server is in trouble: what docs/kubernetes.md says of it, row by row.

Those of leases are in `test_lease`, of statuses in `test_status`, of a start in `test_start`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException

from controlplane.errors import StartupError
from controlplane.kubernetes import client
from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.objects import Objects
from controlplane.kubernetes.reflector import Listing, Reflector, Times
from controlplane.kubernetes.resource import Resource
from controlplane.resources import Loaded
from controlplane.resources.declared import ObjectKey
from tests.certificates import Authority, Files
from tests.kubernetes.apiserver import ApiServer, errors
from tests.kubernetes.apiserver.access import ADMIN
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.scene import DEADLINE_S, Follower, Scene, connected, scene
from tests.unit.resources.documents import BACKEND, GATEWAY, ROUTE

BACKENDS = "backends.weir.dev"
BRIEF = Times(watch_s=(1, 1), first_s=0.02, longest_s=0.1, resync_s=3600.0)
NO_ANSWERS = (
    b"",
    b"[]",
    b"null",
    b"<html>gone</html>",
    b'{"items": [{}], "metadata": {"resourceVersion": "9"}}',
    b'{"items": [{"metadata": {"name": 7}}], "metadata": {"resourceVersion": "9"}}',
    b'{"items": []}',
    b"[" * 100_000,
)
NO_EVENTS = (
    b"{}\n",
    b"7\n",
    b"\xff\n",
    b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "9"}}}\n',
    b'{"type": "ADDED", "object": {"metadata": {"name": "web"}}}\n',
    b'{"type": "ERROR", "object": {"code": null}}\n',
    b"[" * 100_000 + b"\n",
)


@pytest.fixture
def cluster(one_scene: Scene) -> Iterator[Scene]:
    yield one_scene
    one_scene.clear()


def at(address: str) -> str:
    return BACKEND.replace("10.0.0.1", address)


def has(address: str) -> Callable[[Loaded], bool]:
    return lambda loaded: address in str(loaded.declared.backends["default/web"])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 (what holds is on another thread)
            await asyncio.sleep(0.01)


def pages_after_the_first(request: Request) -> bool:
    return "continue" in request.query


# Watches


async def test_a_watch_that_says_nothing_any_more_is_dropped_and_misses_nothing(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LATE_S", 0.2)
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api, times=BRIEF) as follower:
        await follower.next()
        lists = len(follower.relisted)
        await until(lambda: cluster.server.calls.count("watch", BACKENDS) > 0)
        cluster.server.faults.silence_watches()
        cluster.put(at("10.0.0.7"))
        await follower.until(has("10.0.0.7"))
        assert len(follower.relisted) == lists


async def test_a_bookmark_moves_a_watch_on_so_that_its_place_is_still_known(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = cluster.server
    monkeypatch.setattr(server.api, "bookmark_every_s", 0.05)
    cluster.put(BACKEND)
    async with connected(server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        lists = follower.relisted.count("Backend")
        for _ in range(10):  # others write, of Backends nothing happens
            server.call(server.api.store.tick)
        now, told = server.api.store.revision, server.calls.told["BOOKMARK", BACKENDS]
        await until(lambda: server.calls.told["BOOKMARK", BACKENDS] >= told + 2)
        server.call(lambda: server.api.store.compact(now))
        server.drop_watches()
        cluster.put(at("10.0.0.7"))
        await follower.until(has("10.0.0.7"))
        assert follower.relisted.count("Backend") == lists


async def test_an_event_that_was_lost_is_made_up_for_by_the_next_list(
    cluster: Scene, tmp_path: Path
) -> None:
    times = Times(watch_s=(1, 1), first_s=0.02, longest_s=0.1, resync_s=0.5)
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api, times=times) as follower:
        await follower.next()
        lost = cluster.server.faults.garble(lambda _: b"", verbs=["watch"], resource=BACKENDS)
        cluster.put(at("10.0.0.7"))
        await follower.until(has("10.0.0.7"))
        assert lost.met == 1


async def test_a_slow_server_and_one_that_fails_again_and_again_are_waited_for(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(BACKEND)
    faults = cluster.server.faults
    faults.answer_delay_s = 0.02
    failed = faults.fail(verbs=["watch"], resource=BACKENDS, times=3)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        faults.watch_delay_s = 0.1
        cluster.put(at("10.0.0.7"))
        await follower.until(has("10.0.0.7"))
        assert failed.met == 3
        assert follower.relisted.count("Backend") == 1


async def test_what_is_no_event_is_asked_for_again(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        for number, line in enumerate(NO_EVENTS):
            rule = cluster.server.faults.garble(
                lambda _, line=line: line,  # type: ignore[misc]
                verbs=["watch"],
                resource=BACKENDS,
            )
            cluster.put(at(address := f"10.0.1.{number}"))
            await follower.until(has(address))
            assert rule.met == 1, line[:100]


# Lists


@pytest.mark.parametrize("gone", [False, True], ids=["fails", "forgotten"])
async def test_a_list_that_ends_part_way_is_asked_for_anew_and_never_half_of_it_is_told(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Forgotten: its `continue` is too old, so it is asked for in one, as client-go does."""
    monkeypatch.setattr(client, "PAGE", 2)
    cluster.put(*(BACKEND.replace("name: web", f"name: web-{n}") for n in range(5)))
    rule = cluster.server.faults.refuse(
        lambda _: errors.gone("too old") if gone else errors.internal("etcd"),
        verbs=["list"],
        resource=BACKENDS,
        when=pages_after_the_first,
        times=1,
    )
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert len((await follower.next()).declared.backends) == 5
    assert rule.met == 1
    # One page and the refusal; then all in one, or three pages.
    assert cluster.server.calls.count("list", BACKENDS) == 2 + (1 if gone else 3)


async def test_an_answer_that_is_cut_off_or_is_none_is_an_error_and_nothing_is_taken_from_it(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(BACKEND)
    resource = cluster.resources["Backend"]
    changes: list[Callable[[bytes], bytes]] = [lambda body: body[: len(body) // 2]]
    changes += [lambda _, body=body: body for body in NO_ANSWERS]  # type: ignore[misc]
    async with connected(cluster.server, tmp_path) as api:
        for change in changes:
            rule = cluster.server.faults.garble(change, verbs=["list"], resource=BACKENDS)
            with pytest.raises(ApiError):
                await api.list(resource, "")
            assert rule.met == 1
        assert len((await api.list(resource, "")).objects) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"metadata": {"name": "a"}}', b'{"metadata": []}'])
async def test_what_is_no_object_is_never_taken_for_one(
    cluster: Scene, tmp_path: Path, body: bytes
) -> None:
    path = "/api/v1/namespaces/default"
    async with connected(cluster.server, tmp_path) as api:
        found = await api.get(path)
        rule = cluster.server.faults.garble(
            lambda was: body.ljust(len(was)), resource="namespaces", times=4
        )
        calls = [api.get(path), api.replace(path, found), api.merge(path, {})]
        calls += [api.merge_lists(path, {})]
        for call in calls:
            with pytest.raises(ApiError, match="no object"):
                await call
        assert rule.met == 4


@pytest.mark.parametrize("page", ["Accès refusé".encode("latin-1"), b"[" * 100_000])
async def test_a_page_of_a_proxy_that_is_no_text_is_an_error_as_any(
    cluster: Scene, page: bytes
) -> None:
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: {len(page)}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"\r\n\r\n" + page)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        configuration = Configuration(host="http://{}:{}".format(*proxy.sockets[0].getsockname()))
        api = client.Api(ApiClient(configuration))
        with pytest.raises(ApiError) as caught:
            await api.list(cluster.resources["Backend"], "")
        assert caught.value.status == 502
        await api.close()


async def test_a_server_that_wants_to_be_left_in_peace_is_asked_when_it_says(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is tried again by itself; in time or not at all."""
    resource = cluster.resources["Backend"]
    rule = cluster.server.faults.throttle(retry_after_s=1, verbs=["list"], times=1)
    async with connected(cluster.server, tmp_path) as api:
        await api.list(resource, "")
        assert rule.met == 1
        monkeypatch.setattr(client, "REQUEST_S", 3.0)
        rule = cluster.server.faults.throttle(retry_after_s=20, verbs=["list"], times=1)
        with pytest.raises(ApiError, match="429") as refused:
            await api.list(resource, "")
        assert refused.value.retry_after_s == 20.0


class Refusing:
    """A server that wants to be left in peace, then is not there."""

    def __init__(self) -> None:
        self.errors = [ApiError(429, "slowly", 7.0), ApiError(503, "starting")]

    async def list(self, resource: Resource, namespace: str, selector: str = "") -> Listing:
        if not self.errors:
            raise asyncio.CancelledError
        raise self.errors.pop(0)

    async def watch(
        self, resource: Resource, namespace: str, version: str, for_s: int, selector: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        raise AssertionError(resource)
        yield  # pragma: no cover


async def test_a_reflector_waits_as_long_as_the_server_wants() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    backends = Resource("weir.dev/v1alpha1", "backends", "Backend")
    reflector = Reflector(
        Refusing(),
        backends,
        "",
        Objects([backends]),
        clock=lambda: 0.0,
        chance=random.Random(1),
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await reflector.run()
    assert waits[0] == 7.0
    assert waits[1] <= 1.0


class Forgetful:
    """A server that lists, and has forgotten when it did where a watch is asked for."""

    async def list(self, resource: Resource, namespace: str, selector: str = "") -> Listing:
        return client.Listed((), "9")

    async def watch(
        self, resource: Resource, namespace: str, version: str, for_s: int, selector: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        raise ApiError(410, "too old")
        yield  # pragma: no cover


async def test_a_server_that_forgets_what_it_listed_is_asked_more_and_more_seldom(
    cluster: Scene,
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            raise asyncio.CancelledError

    reflector = Reflector(
        Forgetful(),
        cluster.resources["Backend"],
        "",
        Objects(),
        clock=lambda: 0.0,
        chance=random.Random(1),
        sleep=sleep,
    )
    with pytest.raises(asyncio.CancelledError):
        await reflector.run()
    assert waits[-1] >= Times().longest_s / 2


async def test_an_object_that_is_huge_arrives_and_one_too_large_for_an_event_by_a_list(
    cluster: Scene, tmp_path: Path
) -> None:
    """A real server takes 1.5 MB; an event is read up to 4 MiB, a list whatever it holds."""
    key = ObjectKey("ConfigMap", "default/huge")
    store = cluster.server.api.store
    maps = "/api/v1/namespaces/default/configmaps"
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()

        def size() -> int:
            held = follower.source.objects.all().get(key)
            return len(held.document) if held is not None else 0

        made = cluster.http.post(
            maps, json={"metadata": {"name": "huge"}, "data": {"a": "x" * 1_400_000}}
        )
        assert made.status_code == 201
        await until(lambda: size() > 1_400_000)
        assert follower.relisted.count("ConfigMap") == 1
        larger = {**made.json(), "data": {"a": "x" * 5_000_000}}
        cluster.server.call(lambda: store.put("configmaps", ("default", "huge"), larger))
        await until(lambda: size() > 5_000_000)
        assert follower.relisted.count("ConfigMap") == 2
    cluster.http.delete(f"{maps}/huge")


# Who we are


async def test_a_token_that_expired_is_read_again_where_it_came_from(tmp_path: Path) -> None:
    with ApiServer(access_control=True) as server, scene(server) as guarded:
        tokens = server.api.tokens
        assert tokens is not None
        tokens["first"] = ADMIN
        guarded.put(BACKEND)
        async with connected(server, tmp_path, "first") as api, Follower(api) as follower:
            await follower.next()
            tokens["second"] = tokens.pop("first")
            server.write_kubeconfig(tmp_path / "kubeconfig", "second")
            server.drop_watches()
            guarded.put(at("10.0.0.7"))
            await follower.until(has("10.0.0.7"))


HALF_A_FILE = ("", "[1]\n", "apiVersion: v1\ncontexts: [{name: a, con", "clusters: 7\n", "\0")


async def test_credentials_that_are_being_written_are_read_when_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RENEW_S", 0.0)
    path = "/api/v1/namespaces/default"
    with ApiServer(access_control=True) as server:
        tokens = server.api.tokens
        assert tokens is not None
        tokens["first"] = ADMIN
        async with connected(server, tmp_path, "first") as api:
            tokens["second"] = tokens.pop("first")
            for half in HALF_A_FILE:
                (tmp_path / "kubeconfig").write_text(half)
                with pytest.raises(ApiError) as caught:
                    await api.get(path)
                assert caught.value.unknown
                with pytest.raises(StartupError, match="no way to the API"):
                    await client.Api.connect(tmp_path / "kubeconfig", "")
            server.write_kubeconfig(tmp_path / "kubeconfig", "second")
            with pytest.raises(ApiError):
                await api.get(path)
            assert (await api.get(path))["kind"] == "Namespace"


async def test_a_plugin_for_credentials_that_does_not_end_is_not_waited_for(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(**_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "REQUEST_S", 0.05)
    monkeypatch.setattr(config, "load_kube_config", hangs)
    file = cluster.server.write_kubeconfig(tmp_path / "kubeconfig")
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(StartupError, match="no credentials within"):
            await client.Api.connect(file, "")


async def test_a_token_of_the_pod_that_is_empty_for_a_moment_is_read_again(
    cluster: Scene, tmp_path: Path
) -> None:
    """As `load_incluster_config` reads it."""

    def empty(_: object) -> None:
        raise ConfigException("Token file exists but empty.")

    async with connected(cluster.server, tmp_path, "anybody") as api:
        api._connection.configuration.refresh_api_key_hook = empty
        with pytest.raises(ApiError, match="empty"):
            await api.get("/version")
        api._connection.configuration.refresh_api_key_hook = None
        assert await api.get("/version")


async def test_who_is_not_known_at_a_start_waits_and_does_not_do_without(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(
        GATEWAY,
        ROUTE,
        BACKEND,
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"
        "metadata: {name: weir}\nspec: {controllerName: example.com/other}\n",
    )
    classes = "gatewayclasses.gateway.networking.k8s.io"
    rule = cluster.server.faults.refuse(
        lambda _: errors.ApiError(401, "Unauthorized", "Unauthorized"),
        verbs=["list"],
        resource=classes,
        times=3,
    )
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert not (await follower.next()).declared.gateways  # they are another controller's
    assert rule.met == 3


async def test_certificates_of_the_server_may_change_and_its_ca_too(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    files = Files(tmp_path / "tls").put(old.issue(ips=["127.0.0.1"]), old.pem)
    path = "/api/v1/namespaces/default"
    with ApiServer(tls=files) as server:
        async with connected(server, tmp_path) as api:
            assert (await api.get(path))["kind"] == "Namespace"
            for authority in (old, new):
                await asyncio.to_thread(server.refuse_connections)  # TLS ends by both sides
                files.put(authority.issue(ips=["127.0.0.1"]), authority.pem)
                server.write_kubeconfig(tmp_path / "kubeconfig")
                server.accept_connections()
                if authority is new:
                    with pytest.raises(ApiError, match="certificate"):
                        await api.get(path)
                assert (await api.get(path))["kind"] == "Namespace"
