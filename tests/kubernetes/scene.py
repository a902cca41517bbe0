"""A cluster with the kinds that Weir follows, and what a test does with it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from controlplane.kubernetes.client import Api
from controlplane.kubernetes.cluster import LEASE
from controlplane.kubernetes.keeping import Keeps
from controlplane.kubernetes.reflector import Times
from controlplane.kubernetes.resource import LEASES, Resource, served, wanted
from controlplane.kubernetes.source import KubernetesSource
from controlplane.resources.crds import definitions
from controlplane.resources.declared import KINDS
from controlplane.resources.kinds import GATEWAY_API_GROUP, group_of, kind_of, versions_of
from controlplane.resources.load import Loaded
from tests.kubernetes.apiserver import ApiServer
from tests.unit.resources.documents import POLICIES

DEADLINE_S = 20.0
QUICK = Times(watch_s=(20, 30), first_s=0.02, longest_s=0.1, resync_s=3600.0)
_PLURALS = {"GatewayClass": "gatewayclasses", "BackendTLSPolicy": "backendtlspolicies"}
_CLUSTER_WIDE = ("GatewayClass",)


def gateway_api() -> Iterator[dict[str, Any]]:
    """Definitions that stand in for those of the Gateway API: its names, without its schemas."""
    for kind, model in KINDS.items():
        if group_of(model) == GATEWAY_API_GROUP:
            versions = [version.rpartition("/")[2] for version in versions_of(model)]
            yield stand_in(GATEWAY_API_GROUP, kind, versions)


def stand_in(group: str, kind: str, versions: Sequence[str] = ("v1",)) -> dict[str, Any]:
    """A definition of somebody else's kind, by its name alone; the first version is stored."""
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "https://example.com/stand-in"},
        },
        "spec": {
            "group": group,
            "scope": "Cluster" if kind in _CLUSTER_WIDE else "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": at == 0,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }
                for at, version in enumerate(versions)
            ],
        },
    }


class Scene:
    """A server and a client of its own."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self._kinds: set[str] = set()
        token = server.admin_token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=server.url, timeout=10.0, headers=headers)
        for one in (*definitions(), *gateway_api()):
            made = self.http.post(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=one
            )
            assert made.status_code == 201, made.text
        apis = sorted({api for model in wanted(False) for api in versions_of(model)})
        paths = {api: f"/apis/{api}" if "/" in api else f"/api/{api}" for api in apis}
        lists = {api: self.http.get(path).json() for api, path in paths.items()}
        found = {kind_of(model): served(model, lists) for model in wanted(False)}
        self.resources = {kind: one for kind, one in found.items() if one is not None}

    def path(self, document: dict[str, Any], name: str = "") -> str:
        metadata = document["metadata"]
        of: Resource = self.resources[document["kind"]]
        return of.path(metadata.get("namespace", "default") if of.namespaced else "", name)

    def put(self, *texts: str) -> None:
        """Create these documents, or replace them."""
        for document in (one for text in texts for one in yaml.safe_load_all(text) if one):
            status = document.pop("status", None)
            self._kinds.add(document["kind"])
            made = self.http.post(self.path(document), json=document)
            if made.status_code == 409:
                path = self.path(document, document["metadata"]["name"])
                made = self.http.patch(
                    path,
                    json=document,
                    headers={"content-type": "application/merge-patch+json"},
                )
            assert made.status_code in (200, 201), (status, made.text)

    def delete(self, kind: str, name: str) -> None:
        path = self.resources[kind].path("default", name)
        assert self.http.delete(path).status_code == 200

    def clear(self) -> None:
        """Nothing is there any more, and everything works."""
        self.server.faults.clear()
        for kind in self._kinds:
            of = self.resources[kind]
            for one in self.http.get(of.path()).json()["items"]:
                metadata = one["metadata"]
                if kind == "Namespace" or metadata["name"] == "kubernetes":
                    continue
                self.http.delete(of.path(metadata.get("namespace", ""), metadata["name"]))
        self._kinds.clear()
        self.http.delete(LEASES.path("default", LEASE))
        self.server.calls.clear()

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        of = self.resources[kind]
        found: dict[str, Any] = self.http.get(of.path(namespace, name)).json()
        return found


@contextmanager
def scene(server: ApiServer) -> Iterator[Scene]:
    made = Scene(server)
    try:
        yield made
    finally:
        made.http.close()


@asynccontextmanager
async def connected(
    server: ApiServer, folder: Path, token: str | None = None
) -> AsyncIterator[Api]:
    """`token`: of whom; none: of the administrator."""
    api = await Api.connect(server.write_kubeconfig(folder / "kubeconfig", token), "")
    try:
        yield api
    finally:
        await api.close()


class Follower:
    """What a source tells, with a deadline for each step."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str = "",
        times: Times = QUICK,
        keeps: Keeps | None = None,
        wait_s: float = DEADLINE_S,
        informed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.relisted: list[str] = []
        self.source = KubernetesSource(
            api,
            namespace=namespace,
            clock=time.monotonic,
            chance=random.Random(1),
            times=times,
            debounce_s=0.01,
            relisted=self.relisted.append,
            keeps=keeps,
            wait_s=wait_s,
            informed=informed,
        )
        self._told: AsyncGenerator[Loaded] = self.source.watch(POLICIES)

    async def next(self) -> Loaded:
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._told)

    async def until(self, holds: Callable[[Loaded], bool]) -> Loaded:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                loaded = await anext(self._told)
                if holds(loaded):
                    return loaded

    async def __aenter__(self) -> Follower:
        self._closing = aclosing(self._told)
        await self._closing.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._closing.__aexit__(None, None, None)
