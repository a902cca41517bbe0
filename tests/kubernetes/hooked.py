"""A cluster whose API server asks the webhook of the chart, and replicas that answer it."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from controlplane.api.server import HttpServer
from controlplane.kubernetes.client import Api
from controlplane.kubernetes.webhook.app import WebhookApp
from controlplane.kubernetes.webhook.certificates import Pair
from controlplane.kubernetes.webhook.upkeep import Calls, Upkeep, Where
from controlplane.webhook import show
from tests.kubernetes.scene import Scene

NAMESPACE = "weir-system"
WHERE = Where("weir", NAMESPACE, "weir-webhook")
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
REPLACED = {"content-type": "application/merge-patch+json"}


def hook(cluster: Scene, objects: list[dict[str, Any]], **changed: object) -> None:
    """Put what the chart has of the webhook into the cluster, without an address yet."""
    namespaces = "/api/v1/namespaces"
    cluster.http.post(namespaces, json={"metadata": {"name": NAMESPACE}})
    for one in objects:
        if one["kind"] == "ValidatingWebhookConfiguration":
            (only,) = one["webhooks"]
            one = {**one, "webhooks": [{**only, **changed}]}
            cluster.http.post(CONFIGURATIONS, json=one).raise_for_status()
        elif (one["kind"], one["metadata"]["name"]) == ("Secret", WHERE.secret):
            cluster.http.post(SECRETS, json=one).raise_for_status()
        elif one["kind"] == "Service":
            cluster.http.post(SERVICES, json=one).raise_for_status()


def unhook(cluster: Scene) -> None:
    """Take it out again."""
    withdraw(cluster)
    for path in (f"{CONFIGURATIONS}/weir", f"{SECRETS}/{WHERE.secret}", f"{SERVICES}/weir"):
        cluster.http.delete(path)


def lead_to(cluster: Scene, port: int) -> None:
    """The Service leads here."""
    made = {
        "metadata": {"name": "weir-1", "labels": {"kubernetes.io/service-name": "weir"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "https-webhook", "port": port}],
    }
    withdraw(cluster)
    cluster.http.post(SLICES, json=made).raise_for_status()


def withdraw(cluster: Scene) -> None:
    """The Service leads nowhere."""
    cluster.http.delete(f"{SLICES}/weir-1")


def bundle(cluster: Scene) -> str:
    """The CAs that the API server believes, as they are written."""
    found = cluster.http.get(f"{CONFIGURATIONS}/weir").json()
    return str(found["webhooks"][0]["clientConfig"].get("caBundle", ""))


class Replica:
    """The webhook of one replica, in this process."""

    def __init__(self, api: Calls, policies: tuple[str, ...], clock: Callable[[], float]) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.shown: list[Pair] = []
        self.app = WebhookApp(policies, CollectorRegistry())
        self.server = HttpServer(self.app, "webhook", self.context)
        self.port = 0
        self.upkeep = Upkeep(api, WHERE, self._show, wall_clock=clock, chance=random.Random(1))

    def _show(self, pair: Pair) -> None:
        self.shown.append(pair)
        show(self.context, pair.certificate, pair.key)


@asynccontextmanager
async def replica(
    api: Api, policies: tuple[str, ...], clock: Callable[[], float]
) -> AsyncIterator[Replica]:
    made = Replica(api, policies, clock)
    made.port = made.server.bind("127.0.0.1", 0)
    serving = asyncio.create_task(made.server.serve())
    try:
        yield made
    finally:
        made.server.stop()
        made.app.close()
        await serving
