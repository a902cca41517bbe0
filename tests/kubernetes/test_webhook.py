"""The admission webhook: the chart's configuration, the API server of the tests, and Weir."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from controlplane.kubernetes.client import Api
from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.webhook.certificates import LIFE, SETTLED, Kept
from controlplane.lab.envoy import free_port
from controlplane.resources import Loaded, load
from controlplane.resources.crds import definitions
from tests.kubernetes import hooked
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.hooked import Replica, replica
from tests.kubernetes.scene import Scene, connected, scene
from tests.kubernetes.test_chart import rendered
from tests.kubernetes.test_definitions import ONLY_THE_CONTROLLER, broken
from tests.kubernetes.test_status import until, weir
from tests.unit.resources.documents import BACKEND, POLICIES

DENIED = 'admission webhook "validate.weir.dev" denied the request: '
BAD_BACKEND = BACKEND.replace("10.0.0.1", "169.254.1.1")
WORDS = "Backend default/web: spec.endpoints[0].ip.address: "


@pytest.fixture(scope="module")
def chart() -> list[dict[str, Any]]:
    return rendered("-s", "templates/webhook.yaml", "-s", "templates/service.yaml")


@pytest.fixture(scope="module")
def one_cluster() -> Iterator[Scene]:
    with ApiServer() as server, scene(server) as made:
        yield made


@pytest.fixture
def cluster(one_cluster: Scene, chart: list[dict[str, Any]]) -> Iterator[Scene]:
    """Nobody is let through who is not answered."""
    hooked.hook(one_cluster, chart, failurePolicy="Fail")
    yield one_cluster
    hooked.unhook(one_cluster)
    one_cluster.clear()


def test_the_chart_has_it_asked_of_every_kind_of_ours(chart: list[dict[str, Any]]) -> None:
    (one,) = (o for o in chart if o["kind"] == "ValidatingWebhookConfiguration")
    (hook,) = one["webhooks"]
    (rule,) = hook["rules"]
    names = [each["spec"]["names"]["plural"] for each in definitions()]
    versions = {v["name"] for each in definitions() for v in each["spec"]["versions"]}
    assert sorted(rule["resources"]) == sorted(names)
    assert set(rule["apiVersions"]) == versions
    assert rule["operations"] == ["CREATE", "UPDATE"]  # nobody is kept from deleting
    assert (hook["failurePolicy"], hook["sideEffects"]) == ("Ignore", "None")


async def ask(cluster: Scene, document: dict[str, Any], **query: str) -> httpx.Response:
    """Sent as kubectl sends it, while this process serves the webhook."""
    document.setdefault("metadata", {}).setdefault("namespace", "default")
    path = cluster.path(document)
    return await asyncio.to_thread(cluster.http.post, path, json=document, params=query)


async def test_what_the_rules_of_the_definitions_let_through_is_refused_in_the_words_of_validate(
    cluster: Scene, tmp_path: Path
) -> None:
    refused = set()
    async with (
        connected(cluster.server, tmp_path) as api,
        replica(api, POLICIES, time.time) as weir,
    ):
        await weir.upkeep.look()
        hooked.lead_to(cluster, weir.port)
        for document, field, words in broken():
            if (document["kind"], field, words) not in ONLY_THE_CONTROLLER:
                continue
            answer = await ask(cluster, document, dryRun="All")
            assert answer.status_code == 422, answer.text
            message = answer.json()["message"]
            file = {"a.yaml": yaml.safe_dump(document).encode()}
            (first, *_) = load(Loaded(), file, POLICIES).refusals
            assert message.startswith(f"{DENIED}{first.object}: {first.words}")
            assert words in message
            refused.add((document["kind"], field, words))
        assert refused == ONLY_THE_CONTROLLER
        # What leads nowhere may come later.
        for good in (BACKEND, POLICY_OF_NOTHING):
            answer = await ask(cluster, yaml.safe_load(good), dryRun="All")
            assert answer.status_code == 201, answer.text


POLICY_OF_NOTHING = """\
apiVersion: weir.dev/v1alpha1
kind: BalancingPolicy
metadata: {name: early}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: comes-later}]
  policy: model
"""


# --- the certificate ---


class Clock:
    """Of the day; it can be put forward."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def pass_by(self, time: datetime.timedelta) -> None:
        self.now_s += time.total_seconds()


async def admitted(cluster: Scene, weir: Replica) -> bool:
    """Whether the API server gets an answer of this replica, by a new connection."""
    hooked.lead_to(cluster, weir.port)
    answer = await ask(cluster, yaml.safe_load(BACKEND), dryRun="All")
    assert answer.status_code == 201, answer.text
    return True


async def test_no_review_fails_while_the_certificate_and_its_ca_turn(
    cluster: Scene, tmp_path: Path
) -> None:
    """Two replicas, which look at different moments; asked after each step."""
    clock = Clock(time.time() - LIFE.total_seconds() * 2 / 3 - 1000.0)
    async with (
        connected(cluster.server, tmp_path) as api,
        replica(api, POLICIES, clock) as one,
        replica(api, POLICIES, clock) as two,
    ):
        await one.upkeep.look()
        await two.upkeep.look()
        assert one.shown == two.shown
        held = asyncio.create_task(_hold(cluster, one))
        before = hooked.bundle(cluster)
        assert await admitted(cluster, one)
        assert await admitted(cluster, two)

        clock.pass_by(LIFE * 2 / 3 + datetime.timedelta(minutes=1))
        for weir in (one, two):
            await weir.upkeep.look()
            assert len(weir.shown) == 1  # the new one is believed, and not shown yet
            assert await admitted(cluster, one)
            assert await admitted(cluster, two)
        assert hooked.bundle(cluster) != before
        clock.pass_by(SETTLED)
        for weir in (two, one):
            await weir.upkeep.look()
            assert len(weir.shown) == 2
            assert await admitted(cluster, one)
            assert await admitted(cluster, two)
        assert one.shown == two.shown
        clock.pass_by(SETTLED)
        await one.upkeep.look()  # the old CA is believed no more
        ca = one.shown[-1].ca
        assert ssl.PEM_cert_to_DER_cert(ca.decode())
        assert hooked.bundle(cluster) == Kept(one.shown[-1]).data()["ca.crt"]
        assert await admitted(cluster, one)
        assert await admitted(cluster, two)
        assert not held.done()  # nobody was cut off
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        cluster.server.calls.clear()
        await two.upkeep.look()
        assert cluster.server.calls.count() == 2  # two reads where nothing is due


async def _hold(cluster: Scene, weir: Replica) -> None:
    """A connection that stays."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=ssl._create_unverified_context()
    )
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()
        await writer.wait_closed()


class Together:
    """Two that have both read before one of them writes."""

    def __init__(self, api: Api, both: asyncio.Barrier) -> None:
        self._api = api
        self._both = both
        self.conflicts = 0

    async def get(self, path: str) -> Object:
        return await self._api.get(path)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        await self._both.wait()
        try:
            return await self._api.replace(path, body)
        except ApiError as error:
            self.conflicts += error.conflict
            raise

    async def merge_lists(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._api.merge_lists(path, body)


async def test_of_two_replicas_that_begin_at_once_one_makes_the_certificate(
    cluster: Scene, tmp_path: Path
) -> None:
    async with connected(cluster.server, tmp_path) as api:
        both = asyncio.Barrier(2)
        calls = [Together(api, both), Together(api, both)]
        one, two = (Replica(each, POLICIES, time.time) for each in calls)
        async with asyncio.timeout(20.0):
            await asyncio.gather(one.upkeep.look(), two.upkeep.look())
        assert [each.conflicts for each in calls] in ([0, 1], [1, 0])
        assert one.shown == two.shown
        assert len(one.shown) == 1
        kept = (await api.get(f"{hooked.SECRETS}/{hooked.WHERE.secret}"))["data"]
        assert Kept.of(kept) == Kept(one.shown[0])
        assert hooked.bundle(cluster) == kept["ca.crt"]
        # What another program made of the configuration is mended, and nothing else of it changed.
        path = f"{hooked.CONFIGURATIONS}/weir"
        before = (await api.get(path))["webhooks"]
        await api.merge_lists(path, {"webhooks": [_with_bundle("")]})
        await one.upkeep.look()
        assert (await api.get(path))["webhooks"] == before
        for each in (one, two):
            each.app.close()


def _with_bundle(text: str) -> dict[str, Any]:
    return {"name": "validate.weir.dev", "clientConfig": {"caBundle": text}}


# --- all of it ---


async def test_kubectl_is_told_and_without_the_webhook_a_condition_tells(
    cluster: Scene, chart: list[dict[str, Any]], tmp_path: Path
) -> None:
    hooked.unhook(cluster)
    hooked.hook(cluster, chart)  # as the chart has it: `failurePolicy: Ignore`
    kubectl = Cluster(cluster.server.write_kubeconfig(tmp_path / "kube"), "default", cluster.server)
    xds, admin, port = free_port(), free_port(), free_port()
    options = ["--xds-address", f"127.0.0.1:{xds}", "--admin-address", f"127.0.0.1:{admin}"]
    options += ["--webhook-address", f"127.0.0.1:{port}", "--lease-namespace", hooked.NAMESPACE]
    log = tmp_path / "log"
    apply = ("apply", "-f", "-")
    with weir(cluster, tmp_path, *options):
        await until(lambda: bool(hooked.bundle(cluster)), log)
        hooked.lead_to(cluster, port)
        await until(lambda: _ready(admin), log)
        said = kubectl.refused(*apply, given=BAD_BACKEND)
        assert f"{DENIED}{WORDS}" in said
        assert not cluster.http.get("/apis/weir.dev/v1alpha1/backends").json()["items"]
        kubectl.kubectl(*apply, given=BACKEND.replace("name: web", "name: good"))

        hooked.withdraw(cluster)
        cluster.put(BAD_BACKEND)

        def condition() -> str:
            status = cluster.get("Backend", "web").get("status") or {}
            return next((one["message"] for one in status.get("conditions", ())), "")

        await until(lambda: bool(condition()), log)
        words = condition()
        assert f"{DENIED}Backend default/web: {words}" in said

        # It is there now: what does not touch what is wrong goes on, what does is refused.
        hooked.lead_to(cluster, port)
        path = cluster.resources["Backend"].path("default", "web")
        headers = hooked.REPLACED
        labelled = cluster.http.patch(
            path, json={"metadata": {"labels": {"a": "b"}}}, headers=headers
        )
        assert labelled.status_code == 200
        assert words in labelled.headers["warning"].replace('\\"', '"')
        spec = yaml.safe_load(BAD_BACKEND.replace("10.0.0.2", "10.0.0.3"))["spec"]
        changed = cluster.http.patch(path, json={"spec": spec}, headers=headers)
        assert (changed.status_code, changed.json()["reason"]) == (422, "Invalid")
        for name in ("web", "good"):
            cluster.delete("Backend", name)
        async with httpx.AsyncClient() as http:
            metrics = (await http.get(f"http://127.0.0.1:{admin}/metrics")).text
        assert 'weir_webhook_reviews_total{answer="refused"} 2.0' in metrics
        assert (
            'weir_certificate_expiry_timestamp_seconds{entry="tls.crt",kind="Secret",'
            'object="weir-system/weir-webhook"}'
        ) in metrics


def _ready(admin: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{admin}/readyz").status_code == 200
    except httpx.TransportError:
        return False
