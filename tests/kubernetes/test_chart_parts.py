"""The sub-charts `redis` and `monitoring`: what they are, and that they do what they are for.

Their pods run as processes beside a replica of Weir and an Envoy (`tests.kubernetes.node`), with
VictoriaMetrics in the place of Prometheus: Debian's is built without discovery in Kubernetes.
Grafana alone does not run: there is no package of it.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.kubernetes.node.programs import SCRAPER
from tests.kubernetes.stage import ENVOY, SYSTEM, WEIR, Here, here, until
from tests.kubernetes.test_chart import CHART, ROOT, of_kind, refusal, rendered

Object = dict[str, Any]
VALUES = ("-f", str(CHART / "ci" / "monitoring-values.yaml"))
PARTS = {"weir-redis", "weir-prometheus", "weir-grafana"}
LIMIT = 3
"""Requests in an hour."""
DOCUMENTS = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: weir
  listeners: [{{name: http, port: 8080, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: api}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{group: weir.dev, kind: Backend, name: api}}]}}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {{name: api}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: 9}}}}]}}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: api}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}}]
  rateLimit: {{global: {{rules: [{{limit: {{requests: {LIMIT}, unit: Hour}}}}]}}}}
"""


def named(name: str, kind: str, objects: list[Object]) -> Object:
    (found,) = (one for one in of_kind(kind, objects) if one["metadata"]["name"] == name)
    return found


def container(name: str, objects: list[Object]) -> Object:
    (found,) = named(name, "Deployment", objects)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_what_is_not_asked_for_is_not_there() -> None:
    assert not PARTS & {one["metadata"]["name"] for one in rendered()}
    there = {one["metadata"]["name"] for one in of_kind("Deployment", rendered(*VALUES))}
    assert there == {"weir", "weir-envoy", *PARTS}


def test_images_are_those_of_the_playground_and_come_from_the_registry_that_is_said() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    names = {one: services[one.removeprefix("weir-")]["image"] for one in PARTS}
    here = rendered(*VALUES)
    assert {one: container(one, here)["image"] for one in PARTS} == {
        name: f"docker.io/{image}" for name, image in names.items()
    }
    options = ("--set", "global.imageRegistry=mirror.example,global.imagePullSecrets={pull}")
    mirrored = rendered(*VALUES, *options)
    for one in PARTS:
        assert container(one, mirrored)["image"] == f"mirror.example/{names[one]}"
        pod = named(one, "Deployment", mirrored)["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == [{"name": "pull"}]


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("redis.enabled=true,settings.rateLimitRedisUrl=redis://other", "two places to count in"),
        ("redis.enabled=true,redis.maxMemory=lots", "maxMemory"),
        ("redis.enabled=true,redis.persistence=true", "persistence"),
        ("monitoring.enabled=true,monitoring.envoyNamespaces={Shop}", "envoyNamespaces"),
        ("monitoring.enabled=true,monitoring.grafana.anonymous=true", "anonymous"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(option: str, why: str) -> None:
    assert why in refusal("--set", option)


def test_passwords_may_be_those_of_somebody_else() -> None:
    own = "redis.auth.existingSecret=counters,monitoring.grafana.admin.existingSecret=admin"
    objects = rendered(*VALUES, "--set", own)
    assert not PARTS & {one["metadata"]["name"] for one in of_kind("Secret", objects)}
    told = {one["name"]: one for one in container("weir", objects)["env"]}
    password = told["RATE_LIMIT_REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert password == {"name": "counters", "key": "password"}
    for part, secret in (("weir-redis", "counters"), ("weir-grafana", "admin")):
        volumes = named(part, "Deployment", objects)["spec"]["template"]["spec"]["volumes"]
        assert secret in {one.get("secret", {}).get("secretName") for one in volumes}


def test_prometheus_may_list_pods_where_it_looks_for_them_and_nothing_else() -> None:
    objects = rendered(*VALUES)
    those = [
        one
        for one in objects
        if one["kind"] in ("Role", "ClusterRole") and one["metadata"]["name"] == "weir-prometheus"
    ]
    assert [one["metadata"]["namespace"] for one in those] == ["weir-system", "shop"]
    pods = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    assert [one["rules"] for one in those] == [pods, pods]
    jobs = configuration(objects)["scrape_configs"]
    looked = {n for one in jobs for n in one["kubernetes_sd_configs"][0]["namespaces"]["names"]}
    assert looked == {"weir-system", "shop"}


def configuration(objects: list[Object]) -> Object:
    config = named("weir-prometheus", "ConfigMap", objects)["data"]["prometheus.yml"]
    return dict(yaml.safe_load(config))


def test_whoever_is_let_in_by_the_policies_is_who_comes() -> None:
    """The selectors of the network policies choose the pods that they mean."""
    objects = rendered(*VALUES)
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in of_kind("Deployment", objects)
    }

    def chosen(peers: list[Object]) -> set[str]:
        wanted = [one["podSelector"]["matchLabels"] for one in peers if "podSelector" in one]
        return {n for n, has in labels.items() for w in wanted if w.items() <= has.items()}

    def policy(name: str) -> Object:
        return dict(named(name, "NetworkPolicy", objects)["spec"])

    assert chosen(policy("weir-redis")["ingress"][0]["from"]) == {"weir"}
    assert policy("weir-redis")["egress"] == []
    assert chosen(policy("weir-prometheus")["ingress"][0]["from"]) == {"weir-grafana"}
    assert chosen(policy("weir-prometheus")["egress"][0]["to"]) == {"weir", "weir-envoy"}
    assert policy("weir-grafana")["ingress"] == []
    assert chosen(policy("weir-grafana")["egress"][0]["to"]) == {"weir-prometheus"}
    to_redis = [one for one in policy("weir")["egress"] if one["ports"][0]["port"] == 6379]
    assert chosen(to_redis[0]["to"]) == {"weir-redis"}
    for name, port in (("weir", "probe"), ("weir-envoy", "stats")):
        (scraped,) = (o for o in policy(name)["ingress"] if o["ports"][0]["port"] == port)
        assert chosen(scraped["from"]) == {"weir-prometheus"}


def test_grafana_shows_nothing_to_who_has_no_password_and_has_all_dashboards() -> None:
    objects = rendered(*VALUES)
    grafana = container("weir-grafana", objects)
    told = {one["name"]: one["value"] for one in grafana["env"]}
    assert told["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    mounts = {one["name"]: one["mountPath"] for one in grafana["volumeMounts"]}
    assert told["GF_SECURITY_ADMIN_PASSWORD__FILE"] == f"{mounts['secret']}/password"
    home, _, first = told["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].rpartition("/")
    assert home == mounts["dashboards"]
    shown = named("weir-grafana-dashboards", "ConfigMap", objects)["data"]
    files = {one.name: one.read_text().strip() for one in CHART.glob("dashboards/*.json")}
    assert shown == files
    assert first in shown
    data = named("weir-grafana", "ConfigMap", objects)["data"]
    (provider,) = yaml.safe_load(data["dashboards.yaml"])["providers"]
    assert provider["options"]["path"] == home
    (source,) = yaml.safe_load(data["datasource.yaml"])["datasources"]
    service = named("weir-prometheus", "Service", objects)
    (port,) = service["spec"]["ports"]
    assert source["url"] == f"http://weir-prometheus.weir-system.svc:{port['port']}"


@pytest.mark.prometheus
def test_those_who_read_the_configuration_find_nothing_wrong(tmp_path: Path) -> None:
    """promtool all but the discovery, which that of Debian does not know; VictoriaMetrics the
    discovery, and not the rules."""
    objects = rendered(*VALUES)
    rules = tmp_path / "weir.yaml"
    rules.write_text(named("weir-prometheus-rules", "ConfigMap", objects)["data"]["weir.yaml"])
    config = configuration(objects)
    (file,) = config["rule_files"]
    mounted = {one["mountPath"] for one in container("weir-prometheus", objects)["volumeMounts"]}
    assert str(Path(file).parent) in mounted
    jobs = [
        {key: value for key, value in one.items() if key != "kubernetes_sd_configs"}
        for one in config["scrape_configs"]
    ]
    checked = tmp_path / "prometheus.yml"
    checked.write_text(
        yaml.safe_dump({**config, "rule_files": [str(rules)], "scrape_configs": jobs})
    )
    assert "rules found" in said("promtool", "check", "config", str(checked))
    if shutil.which(SCRAPER) is None and "CI" not in os.environ:
        return
    scraped = tmp_path / "scrape.yml"
    scraped.write_text(yaml.safe_dump({"scrape_configs": config["scrape_configs"]}))
    said(SCRAPER, f"-promscrape.config={scraped}", "-dryRun")
    scraped.write_text(scraped.read_text().replace("selectors:", "selector:"))
    with pytest.raises(AssertionError, match="field selector not found"):
        said(SCRAPER, f"-promscrape.config={scraped}", "-dryRun")


def said(*command: str) -> str:
    """What a command says that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.envoy
@pytest.mark.redis
@pytest.mark.skipif(os.geteuid() != 0, reason="networks of pods want root")
@pytest.mark.skipif(
    shutil.which(SCRAPER) is None and "CI" not in os.environ, reason=f"wants {SCRAPER}"
)
async def test_weir_counts_in_the_redis_and_prometheus_finds_weir_and_its_envoy(
    tmp_path: Path,
) -> None:
    async with here(tmp_path) as stage:
        await installed(stage, tmp_path)
        await until(lambda: scraped(stage), "Prometheus with numbers of Weir and of its Envoy")
        await until(lambda: limited(stage), "a request that is one too many")
        (name,) = await stage.pods("app.kubernetes.io/name=redis")
        address = stage.pod(name).network.address
        assert await asyncio.to_thread(counters, address, await password(stage))
        with pytest.raises(redis.AuthenticationError):
            await asyncio.to_thread(counters, address, None)


async def installed(stage: Here, folder: Path) -> None:
    """What Helm makes of the chart, but for the Deployment of Grafana."""
    await stage.kubectl("apply", "--server-side", "-f", str(folder / "gateway-api.yaml"))
    await stage.kubectl("create", "namespace", SYSTEM)
    few = "replicaCount=1,envoy.replicaCount=1,webhook.enabled=false"
    here = "monitoring.envoyNamespaces=null,monitoring.prometheus.scrapeInterval=1s"
    objects = [
        one
        for one in rendered(*VALUES, "--set", few, "--set", here)
        if (one["kind"], one["metadata"]["name"]) != ("Deployment", "weir-grafana")
        and one["kind"] != "Pod"
    ]
    file = folder / "chart.yaml"
    # Definitions first.
    objects.sort(key=lambda one: one["kind"] != "CustomResourceDefinition")
    file.write_text(yaml.safe_dump_all(objects))
    await stage.kubectl("-n", SYSTEM, "apply", "--server-side", "-f", str(file))
    documents = folder / "documents.yaml"
    documents.write_text(DOCUMENTS)
    await stage.kubectl("apply", "-f", str(documents))


async def asked(stage: Here, what: str, **query: str) -> Any:  # noqa: ANN401 (any document)
    """What Prometheus answers."""
    (name,) = await stage.pods("app.kubernetes.io/name=prometheus")
    at = f"http://{stage.pod(name).network.address}:9090/api/v1/{what}"
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
        return (await http.get(at, params=query)).raise_for_status().json()["data"]


async def scraped(stage: Here) -> bool:
    """Whether both jobs have their one pod, by its name and namespace, and it answers."""
    wanted = {("weir", *await stage.pods(WEIR)), ("envoy", *await stage.pods(ENVOY))}
    try:
        found = (await asked(stage, "query", query=f'up{{namespace="{SYSTEM}"}} == 1'))["result"]
        told = await asked(stage, "query", query="weir_build_info")
    except (httpx.HTTPError, ValueError):  # it starts
        return False
    jobs = {(one["metric"]["job"], one["metric"]["pod"]) for one in found}
    return jobs == wanted and len(told["result"]) == 1


async def limited(stage: Here) -> bool:
    """Whether the next requests are refused at last. Until Envoy and Redis are there, a rule that
    nobody can count lets through."""
    (name,) = await stage.pods(ENVOY)
    at = f"http://{stage.pod(name).network.address}:8080/"
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as http:
        try:
            codes = [(await http.get(at)).status_code for _ in range(LIMIT + 1)]
        except httpx.HTTPError:  # the listener is on its way
            return False
    return codes[-1] == 429


async def password(stage: Here) -> str:
    found = await stage.read("-n", SYSTEM, "get", "secret", "weir-redis")
    return base64.b64decode(found["data"]["password"]).decode()


def counters(address: str, password: str | None) -> list[bytes]:
    """Names of what is counted."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(host=address, password=password, retry=once) as client:
        return list(client.scan_iter("weir:limit:*"))
