"""The Envoys of the chart: as a gateway and beside applications, configured whole or in part."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from controlplane.lab.envoy import envoy_binary
from tests.kubernetes.test_chart import CHART, ROOT, of_kind, rendered

EXAMPLE = ROOT / "examples" / "16-kubernetes"
WORDS = re.compile("NODE_CLUSTER|WORKERS|WEIR_HOST|XDS_PORT|TARGET|LISTEN_")
SECRET = "weir-envoy"


def styled(name: str, *options: str) -> list[dict[str, Any]]:
    return rendered("-f", str(CHART / "values" / f"{name}.yaml"), *options)


def bootstrap_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (config,) = (one for one in of_kind("ConfigMap", objects) if "envoy.yaml" in one["data"])
    assert not WORDS.search(config["data"]["envoy.yaml"])
    found: dict[str, Any] = yaml.safe_load(config["data"]["envoy.yaml"])
    return found


def deployment(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (o for o in of_kind("Deployment", objects) if o["metadata"]["name"] == name)
    return found


@pytest.mark.envoy
@pytest.mark.parametrize("style", ["gateway", "overlay", "sidecar"])
def test_the_real_envoy_takes_the_bootstrap(style: str, tmp_path: Path) -> None:
    objects = styled(style)
    (secret,) = (o for o in of_kind("Secret", objects) if o["metadata"]["name"] == SECRET)
    (config,) = (o for o in of_kind("ConfigMap", objects) if "envoy.yaml" in o["data"])
    files = {f"tls/{key}": base64.b64decode(one) for key, one in secret["data"].items()}
    files |= {
        f"{'config' if name == 'envoy.yaml' else 'sds'}/{name}": text.replace(
            "/etc/envoy", str(tmp_path)
        ).encode()
        for name, text in config["data"].items()
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    command = [str(envoy_binary()), "--mode", "validate", "-c", f"{tmp_path}/config/envoy.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_gateway_is_of_a_gateway_and_says_how_many_workers_it_has() -> None:
    more = "envoy.gateway=shop/edge,envoy.concurrency=2,xds.port=18080"
    bootstrap = bootstrap_of(styled("gateway", "--set", more))
    assert bootstrap["node"]["cluster"] == "shop/edge"
    assert bootstrap["node"]["metadata"] == {"weir.dev/workers": 2}
    (weir, _) = bootstrap["static_resources"]["clusters"]
    (host,) = weir["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert host["endpoint"]["address"]["socket_address"] == {
        "address": "weir.weir-system.svc",
        "port_value": 18080,
    }


def test_an_overlay_keeps_its_listener_and_asks_for_the_endpoints_of_one_service() -> None:
    objects = styled("overlay")
    bootstrap = bootstrap_of(objects)
    static = bootstrap["static_resources"]
    assert "cds_config" not in bootstrap["dynamic_resources"]
    (balanced,) = (one for one in static["clusters"] if one["type"] == "EDS")
    assert balanced["eds_cluster_config"]["service_name"] == "default/shop:80"
    own = static["listeners"][0]["address"]["socket_address"]
    assert own == {"address": "0.0.0.0", "port_value": 8080}
    (container,) = deployment(objects, "weir-envoy")["spec"]["template"]["spec"]["containers"]
    assert own["port_value"] in {one["containerPort"] for one in container["ports"]}


def test_a_sidecar_gets_its_bootstrap_where_the_pods_are_and_nothing_else() -> None:
    objects = styled("sidecar", "--set", "envoy.namespaces={shop,mail}")
    configs = [one for one in of_kind("ConfigMap", objects) if "envoy.yaml" in one["data"]]
    assert [one["metadata"]["namespace"] for one in configs] == ["shop", "mail"]
    assert [one["metadata"]["name"] for one in of_kind("Deployment", objects)] == ["weir"]
    overlay = styled("sidecar", "--set", "envoy.mode=overlay,envoy.target=default/shop:80")
    listener = bootstrap_of(overlay)["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["address"] == "127.0.0.1"  # of its pod alone


def test_the_example_of_a_sidecar_starts_envoy_as_the_chart_does() -> None:
    """Before the application, and until after it: an init container that is started again."""
    documents = list(yaml.safe_load_all((EXAMPLE / "sidecar" / "customer.yaml").read_text()))
    (example,) = of_kind("Deployment", documents)
    kubernetes_validate.validate(example, "1.33", strict=True)
    pod = example["spec"]["template"]["spec"]
    (beside,) = pod["initContainers"]
    assert beside["restartPolicy"] == "Always"
    own = deployment(styled("gateway"), "weir-envoy")["spec"]["template"]["spec"]
    (alone,) = own["containers"]
    assert beside["image"] == alone["image"]
    assert beside["args"] == alone["args"][: len(beside["args"])]
    for same in ("env", "securityContext", "volumeMounts"):
        assert beside[same] == alone[same]
    assert pod["volumes"] == own["volumes"]
    assert pod["securityContext"] == own["securityContext"]
    (gateway,) = of_kind("Gateway", documents)
    bootstrap = bootstrap_of(styled("sidecar"))
    assert bootstrap["node"]["cluster"] == f"default/{gateway['metadata']['name']}"


def test_the_example_validates_and_its_pods_are_restricted() -> None:
    for file in EXAMPLE.glob("*.yaml"):
        for one in yaml.safe_load_all(file.read_text()):
            if "." not in one["apiVersion"].partition("/")[0]:
                kubernetes_validate.validate(one, "1.33", strict=True)
            if one["kind"] == "Deployment":
                pod = one["spec"]["template"]["spec"]
                assert pod["securityContext"]["runAsNonRoot"] is True
                for container in pod["containers"]:
                    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                    assert {"requests", "limits"} <= container["resources"].keys()
