"""The chart by the real Helm: linted, rendered with all values, installed, upgraded, removed."""

from __future__ import annotations

import base64
import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from controlplane.settings import ServeSettings
from tests.kubernetes import tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.test_helm import Helm
from tests.kubernetes.test_permissions import roles

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "weir"
VALUES = [*sorted(CHART.glob("ci/*-values.yaml")), *sorted(CHART.glob("values/*.yaml"))]
NOT_PUBLISHED = {
    "cert-manager.io", "gateway.networking.k8s.io", "monitoring.coreos.com", "weir.dev",
}  # fmt: skip
"""Groups of definitions that others (and we) bring, which the schemas of Kubernetes do not have."""


@functools.cache
def rendered(*options: str) -> list[dict[str, Any]]:
    """What Helm makes of the chart; not to be changed."""
    command = [tools.program("helm"), "template", "weir", str(CHART), "-n", "weir-system"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # The definitions are long, and the loader in C is much quicker.
    return [one for one in yaml.load_all(done.stdout, yaml.CSafeLoader) if one]


def of_kind(kind: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


def refusal(*options: str) -> str:
    command = [tools.program("helm"), "template", "weir", str(CHART), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stderr


def test_helm_finds_nothing_wrong() -> None:
    command = [tools.program("helm"), "lint", "--strict", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", VALUES, ids=lambda one: one.stem)
def test_every_object_is_what_kubernetes_publishes(values: Path) -> None:
    objects = rendered("-f", str(values))
    assert of_kind("Deployment", objects)
    for one in objects:
        if one["apiVersion"].partition("/")[0] not in NOT_PUBLISHED:
            kubernetes_validate.validate(one, "1.33", strict=True)
        if one["kind"] != "CustomResourceDefinition" and not one["metadata"]["name"].endswith(
            "-extra"
        ):
            labels = one["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "weir", one["metadata"]
            assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("values", VALUES, ids=lambda one: one.stem)
def test_every_pod_is_restricted(values: Path) -> None:
    """The restricted profile of the Pod Security Standards, a read-only root, bounds and probes."""
    objects = rendered("-f", str(values))
    for one in of_kind("Deployment", objects) + of_kind("Pod", objects):
        pod = one["spec"].get("template", one)["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()
            if one["kind"] == "Pod":  # `helm test` asks once
                continue
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert probe in container
        if one["kind"] == "Deployment":
            assert one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_every_image_is_pulled_with_the_secrets_and_replicas_are_spread() -> None:
    more = "nodeSelector.pool=edge,envoy.nodeSelector.pool=data,envoy.podLabels.team=edge"
    objects = rendered("-f", str(CHART / "ci" / "full-values.yaml"), "--set", more)
    found = {}
    for one in of_kind("Deployment", objects):
        template = one["spec"]["template"]
        pod = found[one["metadata"]["name"]] = template["spec"]
        zones, nodes = pod["topologySpreadConstraints"]
        assert (zones["topologyKey"], nodes["topologyKey"]) == (
            "topology.kubernetes.io/zone", "kubernetes.io/hostname",
        )  # fmt: skip
        for spread in (zones, nodes):
            assert spread["labelSelector"] == one["spec"]["selector"]
            assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
            assert spread["labelSelector"]["matchLabels"].items() <= (
                template["metadata"]["labels"].items()
            )
    (asks,) = of_kind("Pod", objects)
    found["asks"] = asks["spec"]
    assert all(pod["imagePullSecrets"] == [{"name": "pull"}] for pod in found.values())
    pools = {name: pod["nodeSelector"]["pool"] for name, pod in found.items()}
    assert pools == {"weir": "edge", "weir-envoy": "data", "asks": "edge"}


def test_its_permissions_are_those_that_the_page_has() -> None:
    """`test_permissions.py` holds Weir to the page; the wildcards of the page are written out."""
    objects = rendered("--set", "rbac.aggregate=false")
    (page, lease) = roles()

    def granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    (role,) = of_kind("ClusterRole", objects)
    wild = {one for one in granted(page["rules"]) if one[1] == "*"}
    has = granted(role["rules"])
    assert granted(page["rules"]) - wild <= has
    more = has - granted(page["rules"])
    assert {(group, "*", verb) for group, _, verb in more} == wild
    assert not any(
        "*" in one for rule in role["rules"] for one in rule["resources"] + rule["verbs"]
    )
    (own,) = of_kind("Role", objects)
    assert granted(own["rules"]) == granted(lease["rules"])


def test_with_one_namespace_nothing_is_asked_of_the_cluster() -> None:
    objects = rendered("-f", str(CHART / "ci" / "namespaced-values.yaml"))
    of_the_cluster = {
        "ClusterRole", "ClusterRoleBinding", "GatewayClass", "ValidatingWebhookConfiguration",
    }  # fmt: skip
    assert not of_the_cluster & {one["kind"] for one in objects}
    role = next(one for one in of_kind("Role", objects) if one["metadata"]["name"] == "weir")
    assert role["metadata"]["namespace"] == "shop"
    asked = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert not {"gatewayclasses", "namespaces", "nodes"} & asked


def test_a_service_means_replicas_and_nothing_else() -> None:
    """Not what `helm test` starts, nor the Envoys."""
    objects = rendered("-f", str(CHART / "ci" / "full-values.yaml"))
    pods = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind("Pod", objects)}
    for one in of_kind("Deployment", objects):
        pods[one["metadata"]["name"]] = one["spec"]["template"]["metadata"]["labels"]
    assert len(pods) == 3
    for service in of_kind("Service", objects):
        wanted = service["spec"]["selector"].items()
        chosen = {name for name, labels in pods.items() if wanted <= labels.items()}
        assert chosen == {service["metadata"]["name"]}


def test_with_cert_manager_the_webhook_wants_no_permission() -> None:
    objects = rendered("-f", str(CHART / "ci" / "cert-manager-values.yaml"))
    (hook,) = of_kind("ValidatingWebhookConfiguration", objects)
    injected = {"cert-manager.io/inject-ca-from": "weir-system/weir-webhook"}
    assert hook["metadata"]["annotations"] == injected
    certificates = {one["spec"]["secretName"]: one for one in of_kind("Certificate", objects)}
    assert certificates["weir-webhook"]["spec"]["dnsNames"] == ["weir.weir-system.svc"]
    rules = [
        rule
        for kind in ("ClusterRole", "Role")
        for o in of_kind(kind, objects)
        for rule in o["rules"]
    ]
    asked = {(each, verb) for rule in rules for each in rule["resources"] for verb in rule["verbs"]}
    assert ("secrets", "get") not in asked
    assert not {one for one in asked if one[0] == "validatingwebhookconfigurations"}


def test_settings_become_those_that_weir_serve_has() -> None:
    objects = rendered("-f", str(CHART / "ci" / "full-values.yaml"))
    weir = next(o for o in of_kind("Deployment", objects) if o["metadata"]["name"] == "weir")
    (container,) = weir["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert given["WEIR_PUSH_STAGES"] == "0.1,0.5"
    ours = {name for name in given if name.startswith("WEIR_")}
    assert {name.removeprefix("WEIR_").lower() for name in ours} <= set(ServeSettings.model_fields)
    options = {re.sub(r"=.*", "", one).strip("-").replace("-", "_") for one in container["args"]}
    assert options - {"serve"} <= set(ServeSettings.model_fields)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--set", "replicas=3"), "replicas"),
        (("--set", "xds.tls.mode=none"), "mode"),
        (("--set", "xds.port=0"), "port"),
        (("--set", "xds.tls.mode=existing"), "xds.tls.secretName"),
        (("--set", "xds.tls.mode=certManager"), "xds.tls.issuerRef"),
        (("--set", "image.digest=latest"), "digest"),
        (("--set", "envoy.gateway=edge"), "gateway"),
        (("--set", "envoy.enabled=true,envoy.mode=overlay"), "envoy.target"),
        (("--set", "envoy.enabled=true,envoy.style=sidecar"), "envoy.namespaces"),
        (("--set", "envoy.enabled=true", "--kube-version", "1.29.0"), "1.30"),
        (("--set", "webhook.certificate.mode=certManager"), "webhook.certificate.issuerRef"),
        (("--set", "webhook.certificate.mode=existing"), "webhook.certificate.caBundle"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(options: tuple[str, ...], why: str) -> None:
    assert why in refusal(*options)


def test_alerts_and_dashboards_are_the_files_of_the_repository() -> None:
    objects = rendered("-f", str(CHART / "ci" / "full-values.yaml"))
    (rule,) = of_kind("PrometheusRule", objects)
    assert rule["spec"] == yaml.safe_load((CHART / "alerts" / "weir.yaml").read_text())
    shown = {
        name: json.loads(text)
        for one in of_kind("ConfigMap", objects)
        if one["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, text in one["data"].items()
    }
    files = {one.name: json.loads(one.read_text()) for one in CHART.glob("dashboards/*.json")}
    assert shown == files


def test_replicas_know_one_another_by_a_name_that_no_envoy_has() -> None:
    objects = rendered()
    weir = next(o for o in of_kind("Deployment", objects) if o["metadata"]["name"] == "weir")
    (container,) = weir["spec"]["template"]["spec"]["containers"]
    given = dict(one.removeprefix("--").partition("=")[::2] for one in container["args"])

    def certificate(secret: str) -> x509.Certificate:
        (found,) = (o for o in of_kind("Secret", objects) if o["metadata"]["name"] == secret)
        return x509.load_pem_x509_certificate(base64.b64decode(found["data"]["tls.crt"]))

    def names(of: x509.Certificate) -> list[str]:
        extension = of.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return extension.value.get_values_for_type(x509.DNSName)

    own = certificate("weir-xds")
    assert given["replica-identity"] in names(own)
    assert given["replica-identity"] not in names(certificate("weir-envoy"))
    usages = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {*usages} >= {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    (policy,) = of_kind("NetworkPolicy", objects)
    (peers,) = (one for one in policy["spec"]["ingress"] if one["ports"][0]["port"] == "replica")
    assert peers["from"] == [
        {"podSelector": {"matchLabels": weir["spec"]["selector"]["matchLabels"]}}
    ]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(rollouts=True) as made:
        yield made


HOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/weir"


def fill_the_webhook(http: httpx.Client) -> None:
    """As Weir does."""
    headers = {"content-type": "application/strategic-merge-patch+json"}
    for path, change in (
        ("/api/v1/namespaces/shop/secrets/weir-webhook", {"data": {"tls.crt": "Q0E="}}),
        (
            HOOK,
            {"webhooks": [{"name": "validate.weir.dev", "clientConfig": {"caBundle": "Q0E="}}]},
        ),
    ):
        http.patch(path, json=change, headers=headers).raise_for_status()


def test_it_comes_changes_and_goes_and_keeps_what_must_stay(
    server: ApiServer, tmp_path: Path
) -> None:
    helm = Helm(server, tmp_path)
    parts = "gatewayClass.create=false,redis.enabled=true,monitoring.enabled=true"
    everything = (str(CHART), f"--set={parts}", "--wait", "--timeout=60s")
    with httpx.Client(base_url=server.url, timeout=10.0) as http:

        def data(name: str) -> Any:  # noqa: ANN401
            return http.get(f"/api/v1/namespaces/shop/secrets/{name}").json()["data"]

        helm("install", "weir", *everything, "--create-namespace")
        fill_the_webhook(http)
        secrets = ("weir-xds", "weir-envoy", "weir-webhook", "weir-redis", "weir-grafana")
        before = {name: data(name) for name in secrets}
        helm("upgrade", "weir", *everything, "--set=settings.logLevel=debug,envoy.enabled=true")
        assert {name: data(name) for name in before} == before  # nobody is cut off by an upgrade
        (hook,) = http.get(HOOK).json()["webhooks"]
        assert hook["clientConfig"]["caBundle"] == "Q0E="
        deployments = http.get("/apis/apps/v1/namespaces/shop/deployments").json()["items"]
        assert {one["metadata"]["name"].removeprefix("weir-") for one in deployments} == {
            "weir", "envoy", "redis", "prometheus", "grafana",
        }  # fmt: skip
        helm("rollback", "weir", "1")
        helm("uninstall", "weir", "--wait", "--timeout=60s")
        left = http.get("/apis/apps/v1/namespaces/shop/deployments").json()["items"]
        assert left == []
        definitions = http.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").json()
        assert {one["spec"]["group"] for one in definitions["items"]} == {"weir.dev"}
