"""TLS, tokens, RBAC and admission webhooks of the test server."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import Authority, Files
from tests.kubernetes.apiserver import ApiServer

MAPS = "/api/v1/namespaces/default/configmaps"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ApiServer]:
    authority = Authority()
    files = Files(tmp_path / "tls").put(authority.issue(ips=["127.0.0.1"]), authority.pem)
    with ApiServer(tls=files, access_control=True) as server:
        yield server


def as_one(server: ApiServer, token: str) -> httpx.Client:
    ca = base64.b64decode(
        server.kubeconfig()["clusters"][0]["cluster"]["certificate-authority-data"]
    )
    return httpx.Client(
        base_url=server.url,
        verify=ssl.create_default_context(cadata=ca.decode()),
        headers={"authorization": f"Bearer {token}"} if token else {},
        timeout=10.0,
    )


def test_a_service_account_may_what_its_roles_say(guarded: ApiServer) -> None:
    token = guarded.account_token("default", "weir")
    with as_one(guarded, guarded.admin_token) as admin, as_one(guarded, token) as weir:
        refused = weir.get(MAPS)
        assert refused.status_code == 403
        assert refused.json()["message"] == (
            'configmaps is forbidden: User "system:serviceaccount:default:weir" cannot list '
            'resource "configmaps" in API group "" in the namespace "default"'
        )
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
        role = {"metadata": {"name": "reads"}, "rules": rules}
        admin.post(f"{RBAC}/namespaces/default/roles", json=role).raise_for_status()
        binding = {
            "metadata": {"name": "weir-reads"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"},
            "subjects": [{"kind": "ServiceAccount", "name": "weir", "namespace": "default"}],
        }
        admin.post(f"{RBAC}/namespaces/default/rolebindings", json=binding).raise_for_status()
        assert weir.get(MAPS).status_code == 200
        assert weir.get("/api/v1/configmaps").status_code == 403
        assert weir.post(MAPS, json={"metadata": {"name": "a"}}).status_code == 403
        review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps"}}}
        asked = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        assert weir.post(asked, json=review).json()["status"] == {"allowed": False}
        review["spec"]["resourceAttributes"]["namespace"] = "default"
        assert weir.post(asked, json=review).json()["status"] == {"allowed": True}


def test_nobody_comes_in_without_a_token(guarded: ApiServer) -> None:
    with as_one(guarded, "") as nobody, as_one(guarded, "wrong") as stranger:
        assert nobody.get(MAPS).status_code == 401
        assert stranger.get(MAPS).status_code == 401
        assert nobody.get("/healthz").text == "ok"


# --- webhooks ---


class Hook:
    """A webhook that refuses data with `bad` in it, and remembers what it was asked."""

    def __init__(self, issued: Files) -> None:
        self.asked: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = json.dumps(hook.answer(body["request"])).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        fine = "bad" not in ((request["object"] or {}).get("data") or {})
        response: dict[str, Any] = {"uid": request["uid"], "allowed": fine}
        if not fine:
            response["status"] = {"code": 403, "reason": "Forbidden", "message": "no bad data"}
        else:
            response["warnings"] = ["looked at"]
        return {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[Hook, Authority]]:
    authority = Authority()
    issued = authority.issue(dns=["hook.default.svc"])
    made = Hook(Files(tmp_path / "hook").put(issued, authority.pem))
    yield made, authority
    made.close()


def configuration(ca: bytes, **more: object) -> dict[str, Any]:
    service = {"namespace": "default", "name": "hook", "path": "/validate"}
    return {
        "metadata": {"name": "hook"},
        "webhooks": [
            {
                "name": "hook.weir.dev",
                "clientConfig": {"service": service, "caBundle": base64.b64encode(ca).decode()},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["configmaps"],
                        "operations": ["CREATE", "UPDATE"],
                    }
                ],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                **more,
            }
        ],
    }


def serve(http: httpx.Client, port: int) -> None:
    """The service of the webhook, and where it is."""
    spec = {"ports": [{"name": "https", "port": 443}]}
    services = "/api/v1/namespaces/default/services"
    http.post(services, json={"metadata": {"name": "hook"}, "spec": spec}).raise_for_status()
    slice_ = {
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    http.post(path, json=slice_).raise_for_status()


def test_a_webhook_is_asked_over_tls_and_its_word_counts(
    api_server: ApiServer, hook: tuple[Hook, Authority]
) -> None:
    made, authority = hook
    with httpx.Client(base_url=api_server.url, timeout=10.0) as http:
        serve(http, made.server.server_port)
        http.post(HOOKS, json=configuration(authority.pem)).raise_for_status()
        fine = http.post(MAPS, json={"metadata": {"name": "a"}, "data": {"x": "1"}})
        assert (fine.status_code, fine.headers["warning"]) == (201, '299 - "looked at"')
        refused = http.post(MAPS, json={"metadata": {"name": "b"}, "data": {"bad": "1"}})
        assert refused.status_code == 403
        assert refused.json()["message"] == (
            'admission webhook "hook.weir.dev" denied the request: no bad data'
        )
        http.delete(f"{MAPS}/a").raise_for_status()
    assert [one["operation"] for one in made.asked] == ["CREATE", "CREATE"]
    assert made.asked[0]["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}


@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
def test_a_webhook_with_another_certificate_is_not_believed(
    api_server: ApiServer, hook: tuple[Hook, Authority], policy: str, code: int
) -> None:
    made, _ = hook
    with httpx.Client(base_url=api_server.url, timeout=10.0) as http:
        serve(http, made.server.server_port)
        other = configuration(Authority("other").pem, failurePolicy=policy)
        http.post(HOOKS, json=other).raise_for_status()
        answer = http.post(MAPS, json={"metadata": {"name": "a"}})
        assert answer.status_code == code
        if policy == "Fail":
            assert 'failed calling webhook "hook.weir.dev"' in answer.json()["message"]
    assert made.asked == []


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", 1), ("Exact", 0)])
def test_a_webhook_is_asked_about_other_versions_where_its_policy_is_equivalent(
    api_server: ApiServer, hook: tuple[Hook, Authority], policy: str, asked: int
) -> None:
    made, authority = hook
    events = [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["events"],
            "operations": ["CREATE"],
        }
    ]
    with httpx.Client(base_url=api_server.url, timeout=10.0) as http:
        serve(http, made.server.server_port)
        http.post(HOOKS, json=configuration(authority.pem, rules=events, matchPolicy=policy))
        now = "2026-01-01T00:00:00.000000Z"
        event = {"metadata": {"name": "a"}, "eventTime": now, "note": "hello"}
        path = "/apis/events.k8s.io/v1/namespaces/default/events"
        http.post(path, json=event).raise_for_status()
    assert len(made.asked) == asked
    for one in made.asked:
        assert one["requestResource"]["group"] == "events.k8s.io"
        assert one["resource"] == {"group": "", "version": "v1", "resource": "events"}
        assert (one["object"]["apiVersion"], one["object"]["message"]) == ("v1", "hello")


def test_a_webhook_that_does_not_answer_in_time_is_not_waited_for(
    api_server: ApiServer, hook: tuple[Hook, Authority]
) -> None:
    _, authority = hook
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, httpx.Client(base_url=api_server.url, timeout=10.0) as http:
        serve(http, silent.getsockname()[1])
        http.post(HOOKS, json=configuration(authority.pem, timeoutSeconds=1))
        answer = http.post(MAPS, json={"metadata": {"name": "a"}})
        assert answer.status_code == 500
        assert answer.json()["message"] == (
            'Internal error occurred: failed calling webhook "hook.weir.dev": failed to call '
            'webhook: Post "https://hook.default.svc:443/validate?timeout=1s": context deadline '
            "exceeded"
        )
