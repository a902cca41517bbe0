"""What crosses namespaces, through the real Envoy: routes to Gateways by the labels of their
namespace, routes to Backends and Gateways to Secrets where a ReferenceGrant lets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.certificates import Authority
from tests.envoy.edge import backend, edge, gateway, route, secret, trusting, until
from tests.envoy.origin import ask, origins

pytestmark = pytest.mark.envoy

SELECTED = (
    "allowedRoutes: {kinds: [{kind: HTTPRoute}], namespaces: {from: Selector, "
    "selector: {matchLabels: {edge: open}}}}"
)


def within(namespace: str, document: str) -> str:
    return document.replace("metadata: {", f"metadata: {{namespace: {namespace}, ", 1)


def namespace(name: str, edge: str) -> str:
    return (
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{edge: {edge}}}}}\n"
    )


def grant(namespace: str, kind: str, by: str, to: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\n"
        f"metadata: {{name: {kind.lower()}, namespace: {namespace}}}\nspec:\n"
        f"  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {by}}}]\n"
        f"  to: [{to}]\n"
    )


async def test_routes_and_gateways_reach_what_other_namespaces_let_them(tmp_path: Path) -> None:
    ca, port, tls = Authority(), free_port(), free_port()
    one = ca.issue(dns=["x.test"])
    keys = "{certificateRefs: [{name: keys, namespace: vault}]}"
    parents = "[{name: edge, namespace: default}]"
    refs = "[{backendRefs: [{name: a, namespace: stock}]}]"
    async with origins("a") as running:
        documents = [
            gateway(
                f"name: http, port: {port}, protocol: HTTP, {SELECTED}",
                f"name: https, port: {tls}, protocol: HTTPS, tls: {keys}, {SELECTED}",
            ),
            within("vault", secret("keys", {"tls.crt": one.certificate, "tls.key": one.key})),
            within("stock", backend("a", running["a"].port)),
            within("shop", route("shop", refs, hosts="[x.test]", parents=parents)),
            within("shut", route("shut", refs, hosts="[shut.test]", parents=parents)),
        ]
        labels = [namespace("shop", "open"), namespace("shut", "closed")]
        secrets = grant("vault", "Gateway", "default", "{group: '', kind: Secret, name: keys}")
        backends = grant("stock", "HTTPRoute", "shop", "{group: weir.dev, kind: Backend}")
        shut = "lets in no routes of namespace shut"
        denied = "in another namespace, and no ReferenceGrant there allows it"
        async with edge(
            tmp_path, *documents, *labels, secrets, backends, faults=(shut, denied)
        ) as made:

            async def answered(status: int) -> bool:
                return {status for status, _ in await ask(port, host="x.test")} == {status}

            await until(lambda: answered(200))
            assert {status for status, _ in await ask(port, host="shut.test")} == {404}
            async with made.client(verify=trusting(ca.pem)) as client:
                extensions = {"sni_hostname": "x.test"}
                url = f"https://127.0.0.1:{tls}/"
                got = await client.get(url, headers={"host": "x.test"}, extensions=extensions)
                assert (got.status_code, got.text) == (200, "a")
            # Taken back: the Backend is out of reach, and the listener has no certificate.
            await made.apply(*documents, *labels, faults=(shut, denied))
            await until(lambda: answered(500))
            await until(lambda: _closed(tls))
            # Another label, and the route of the namespace is in.
            opened = [namespace("shop", "open"), namespace("shut", "open")]
            await made.apply(*documents, *opened, secrets, backends, faults=(denied,))
            await until(lambda: answered(200))
            assert {status for status, _ in await ask(port, host="shut.test")} == {500}


async def _closed(port: int) -> bool:
    try:
        await ask(port)
    except OSError:
        return True
    return False
