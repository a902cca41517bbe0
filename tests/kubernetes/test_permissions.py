"""The permissions of docs/kubernetes.md are enough, and no more than are used."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.kubernetes.cluster import micro_now, now
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.events import Happened, Recorder
from controlplane.kubernetes.lease import Lease
from controlplane.kubernetes.status import document_kinds, statuses
from controlplane.kubernetes.webhook.certificates import LIFE
from controlplane.kubernetes.webhook.upkeep import Upkeep, Where
from controlplane.kubernetes.writer import StatusWriter
from controlplane.resources.conditions import conditions
from controlplane.resources.declared import ObjectKey
from controlplane.resources.kinds import group_of, kind_of
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.scene import Follower, Scene, connected, scene
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def roles() -> list[dict[str, Any]]:
    (found,) = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", PAGE.read_text(), re.DOTALL)
    return list(yaml.safe_load_all(found))


@pytest.fixture
def guarded() -> Iterator[Scene]:
    with ApiServer(access_control=True) as server, scene(server) as made:
        yield made


def bind(cluster: Scene) -> str:
    """The token of a service account that has these permissions."""
    cluster_role, role = roles()
    namespace = role["metadata"]["namespace"]
    subject = {"kind": "ServiceAccount", "name": "weir", "namespace": namespace}
    cluster.http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
    for path, one in (("", cluster_role), (f"/namespaces/{namespace}", role)):
        kind = one["kind"]
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "weir"}
        binding = {"metadata": {"name": "weir"}, "roleRef": reference, "subjects": [subject]}
        plural = kind.lower()
        cluster.http.post(f"{RBAC}{path}/{plural}s", json=one).raise_for_status()
        cluster.http.post(f"{RBAC}{path}/{plural}bindings", json=binding).raise_for_status()
    return cluster.server.account_token(namespace, "weir")


async def test_they_are_enough(guarded: Scene, tmp_path: Path) -> None:
    guarded.put(GATEWAY, ROUTE, BACKEND, POLICY)
    token = bind(guarded)
    guarded.server.calls.clear()
    async with connected(guarded.server, tmp_path, token) as api, Follower(api) as follower:
        loaded = await follower.next()
        seen = follower.source.seen
        assert not loaded.problems
        found = statuses(loaded, conditions(loaded.declared, {}), seen.held)
        writer = StatusWriter(api, lambda: follower.source.objects, now)
        guarded.server.faults.conflict(resource="backends.weir.dev", times=1)
        assert await writer.write(found) == 4
        lease = Lease(
            api,
            namespace="weir-system",
            name="weir-decider",
            identity="one",
            clock=time.monotonic,
            now=micro_now,
            chance=random.Random(1),
        )
        await lease._look()
        await lease._look()
        assert lease.holds
        recorder = Recorder(
            api,
            lambda: seen.held,
            "one",
            clock=time.monotonic,
            now=micro_now,
            unique=lambda: "a",
        )
        await recorder.write(Happened(ObjectKey("Gateway", "default/edge"), "Refused", "why"))
        with pytest.raises(ApiError, match="403"):
            await api.get("/api/v1/namespaces/default/pods")
    used = {(one.verb, one.resource.partition(".")[0]) for one in guarded.server.calls.recent}
    assert {"list", "watch", "patch", "get", "create", "update"} <= {verb for verb, _ in used}


async def test_they_are_enough_for_the_certificate_of_the_webhook_and_for_no_other(
    guarded: Scene, tmp_path: Path
) -> None:
    token = bind(guarded)
    secrets = "/api/v1/namespaces/weir-system/secrets"
    client = {"service": {"name": "weir", "namespace": "weir-system"}}
    for name in ("weir", "other"):
        one = {"name": "validate.weir.dev", "clientConfig": client}
        hook = {**one, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
        made = {"metadata": {"name": name}, "webhooks": [hook]}
        guarded.http.post(HOOKS, json=made).raise_for_status()
        secret = {"metadata": {"name": f"{name}-webhook"}}
        guarded.http.post(secrets, json=secret).raise_for_status()
    now_s = time.time()
    async with connected(guarded.server, tmp_path, token) as api:

        def upkeep(name: str) -> Upkeep:
            where = Where(name, "weir-system", f"{name}-webhook")
            chance = random.Random(1)
            return Upkeep(api, where, shown.append, wall_clock=lambda: now_s, chance=chance)

        shown: list[object] = []
        ours = upkeep("weir")
        for _ in range(3):
            await ours.look()
            now_s += LIFE.total_seconds() * 0.7
        assert len(shown) == 2
        for path in (f"{HOOKS}/other", f"{secrets}/other-webhook"):
            with pytest.raises(ApiError, match="403"):
                await api.get(path)
        for path in (HOOKS, secrets):
            with pytest.raises(ApiError, match="403"):
                await api.create(path, {"metadata": {"name": "more"}})


def test_every_kind_with_a_status_may_have_it_written() -> None:
    cluster_role, _ = roles()
    written = {
        (group, resource)
        for rule in cluster_role["rules"]
        if "patch" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if resource.endswith("/status")
    }
    plurals = {
        "GatewayClass": "gatewayclasses",
        "EnvoyPatch": "envoypatches",
    }
    wanted = {
        (
            group_of(model),
            plurals.get(kind := kind_of(model), f"{kind.lower()}s".replace("policys", "policies"))
            + "/status",
        )
        for model in document_kinds()
    }
    assert written == wanted
