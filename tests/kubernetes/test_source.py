"""Documents from the API mean what they mean in a folder, whatever the server does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cli.fleets import snapshots
from controlplane.kubernetes.errors import ApiError
from controlplane.resources import Loaded, load
from controlplane.resources.declared import KINDS, ObjectKey
from tests.kubernetes.scene import DEADLINE_S, Follower, Scene, connected
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICIES, ROUTE, joined
from tests.unit.resources.test_service_backends import NODE, SERVICE, at, slice_of
from tests.unit.resources.test_service_backends import ROUTE as SERVICE_ROUTE

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def cluster(one_scene: Scene) -> Iterator[Scene]:
    yield one_scene
    one_scene.clear()


def documents_of(folder: Path) -> list[dict[str, Any]]:
    texts = (path.read_text() for path in sorted(folder.glob("*.yaml")))
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def folders() -> list[Path]:
    return [
        one
        for one in sorted(EXAMPLES.iterdir())
        if one.is_dir()
        and (documents := documents_of(one))
        and all(each.get("kind") in KINDS for each in documents)
    ]


def from_folder(*texts: str) -> Loaded:
    return load(Loaded(), {f"{at:03}.yaml": one.encode() for at, one in enumerate(texts)}, POLICIES)


def sent(loaded: Loaded) -> dict[str, Any]:
    return {one.fleet: one.resources for one in snapshots(loaded.declared)}


async def test_an_example_gives_the_same_bytes_as_its_folder(
    cluster: Scene, tmp_path: Path
) -> None:
    """In one cluster, one after the other."""
    async with connected(cluster.server, tmp_path) as api:
        for folder in folders()[::4]:
            documents = documents_of(folder)
            texts = [yaml.safe_dump(one) for one in documents]
            folder_says = from_folder(*texts)
            namespaces = {one["metadata"].get("namespace", "default") for one in documents}
            known = {one["metadata"]["name"] for one in documents if one["kind"] == "Namespace"}
            for name in namespaces - known - {"default"}:
                cluster.http.post("/api/v1/namespaces", json={"metadata": {"name": name}})
            cluster.put(*sorted(texts, key=lambda one: "kind: Namespace\n" not in one))
            async with Follower(api) as follower:
                api_says = await follower.next()
            assert sent(api_says) == sent(folder_says), folder.name
            assert len(api_says.problems) == len(folder_says.problems), folder.name
            cluster.clear()


async def test_a_service_and_its_slices_give_the_same_bytes_too(
    cluster: Scene, tmp_path: Path
) -> None:
    texts = [
        GATEWAY,
        SERVICE_ROUTE,
        SERVICE,
        NODE,
        slice_of("one", at("10.0.0.1", ready=True)),
        slice_of("two", at("10.0.0.2", ready=False, serving=True, terminating=True)),
    ]
    cluster.put(*texts)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert sent(await follower.next()) == sent(from_folder(*texts))


async def test_changes_are_told_and_the_status_of_an_object_is_none(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert not (await follower.next()).problems
        cluster.http.patch(
            cluster.resources["Gateway"].path("default", "edge") + "/status",
            json={"status": {"conditions": []}},
            headers={"content-type": "application/merge-patch+json"},
        )
        cluster.put(BACKEND.replace("10.0.0.1", "10.0.0.7"))
        loaded = await follower.next()  # the first that is told: the status was not
        backend = loaded.declared.backends["default/web"]
        assert "10.0.0.7" in str(backend)
        cluster.delete("HTTPRoute", "web")
        assert not (await follower.next()).declared.routes


async def test_what_is_refused_stays_as_it_was_until_it_is_deleted(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        good = await follower.next()
        cluster.put(
            ROUTE.replace(
                "- backendRefs", "- matches: [{path: {value: no-slash}}]\n      backendRefs"
            )
        )
        bad = await follower.next()
        assert bad.declared.routes == good.declared.routes
        assert {one.file for one in bad.refusals} == {"HTTPRoute/default/web"}
        cluster.delete("HTTPRoute", "web")
        gone = await follower.next()
        assert not gone.refusals
        assert not gone.declared.routes


async def test_secrets_are_documents_where_somebody_refers_to_them(
    cluster: Scene, tmp_path: Path
) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: NAME}\ndata: {a: YQ==}\n"
    cluster.put(GATEWAY, secret.replace("NAME", "theirs"), secret.replace("NAME", "ours"))
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert not [key for key in (await follower.next()).declared.sources if key.kind == "Secret"]
        cluster.put(
            """\
apiVersion: weir.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  apiKeyAuth: {credentialRefs: [{name: ours}], extractFrom: [{headers: [x-key]}]}
"""
        )
        loaded = await follower.next()
        assert [key for key in loaded.declared.sources if key.kind == "Secret"] == [
            ObjectKey("Secret", "default/ours")
        ]


async def test_a_watch_that_lost_its_place_lists_again_and_misses_nothing(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        before = follower.relisted.count("Backend")
        rule = cluster.server.faults.gone(resource="backends.weir.dev", times=1)
        cluster.server.drop_watches()
        async with asyncio.timeout(DEADLINE_S):
            while not rule.met:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        cluster.put(BACKEND.replace("10.0.0.1", "10.0.0.7"))
        await follower.until(lambda one: "10.0.0.7" in str(one.declared.backends["default/web"]))
        assert follower.relisted.count("Backend") == before + 1


async def test_watches_that_are_cut_go_on_where_they_were(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        lists = len(follower.relisted)
        for number in range(3):
            cluster.server.drop_watches(cut_short=number == 1)
            address = f"10.0.1.{number}"
            cluster.put(BACKEND.replace("10.0.0.1", address))
            await follower.until(
                lambda one, address=address: address in str(one.declared.backends["default/web"])  # type: ignore[misc]
            )
        assert len(follower.relisted) == lists


async def test_while_the_server_is_gone_what_was_declared_stays(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        await follower.next()
        cluster.server.refuse_connections()
        following = asyncio.create_task(follower.next())
        await asyncio.sleep(0.3)
        assert not following.done()
        cluster.server.accept_connections()
        cluster.put(BACKEND.replace("10.0.0.1", "10.0.0.7"))
        assert "10.0.0.7" in str((await following).declared.backends["default/web"])


async def test_nothing_is_told_before_every_kind_was_listed(cluster: Scene, tmp_path: Path) -> None:
    cluster.put(GATEWAY, ROUTE, BACKEND)
    rule = cluster.server.faults.fail(verbs=("list",), resource="backends.weir.dev", times=3)
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert not (await follower.next()).problems
        assert rule.met == 3


async def test_lists_are_asked_for_in_pages(
    cluster: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.kubernetes.client.PAGE", 2)
    cluster.put(GATEWAY, *(BACKEND.replace("name: web", f"name: web-{n}") for n in range(5)))
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert len((await follower.next()).declared.backends) == 5
        assert cluster.server.calls.count("list", "backends.weir.dev") == 3


async def test_of_one_namespace_alone_nothing_is_asked_of_the_cluster(
    cluster: Scene, tmp_path: Path
) -> None:
    cluster.http.post("/api/v1/namespaces", json={"metadata": {"name": "team"}})
    other = BACKEND.replace("name: web", "name: web, namespace: team")
    cluster.put(BACKEND, other)
    cluster.server.calls.clear()
    async with (
        connected(cluster.server, tmp_path) as api,
        Follower(api, namespace="team") as follower,
    ):
        assert list((await follower.next()).declared.backends) == ["team/web"]
    asked = {(one.resource, one.namespace) for one in cluster.server.calls.recent}
    assert {namespace for _, namespace in asked} == {"team"}


async def test_what_stands_in_no_namespace_may_be_forbidden(cluster: Scene, tmp_path: Path) -> None:
    from tests.kubernetes.apiserver import errors

    cluster.put(joined(GATEWAY, ROUTE, BACKEND))
    cluster.server.faults.refuse(
        lambda request: errors.forbidden("nodes", "", "", "may not"),
        verbs=("list",),
        resource="nodes",
        times=1000,
    )
    async with connected(cluster.server, tmp_path) as api, Follower(api) as follower:
        assert not (await follower.next()).problems


async def test_an_answer_that_is_no_good_says_why(cluster: Scene, tmp_path: Path) -> None:
    async with connected(cluster.server, tmp_path) as api:
        with pytest.raises(ApiError, match="404"):
            await api.get("/apis/weir.dev/v1alpha1/namespaces/default/backends/nobody")
