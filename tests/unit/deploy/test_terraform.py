"""The Terraform module: its language, and what the chart makes of what it says.

What providers know of their resources is checked by `terraform validate` in the workflow; they are
not to be had here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from tests.kubernetes import tools

ROOT = Path(__file__).parents[3]
MODULE = ROOT / "deploy" / "terraform"
CHART = ROOT / "charts" / "weir"
FILES = sorted(MODULE.rglob("*.tf"))
EXAMPLES = ("kind", "eks")


@cache
def parsed(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = hcl2.loads(file.read_text())
    return found


def blocks(kind: str, folder: Path) -> dict[str, dict[str, Any]]:
    """By name, of the files right in a folder."""
    return {
        name.strip('"'): body
        for file in sorted(folder.glob("*.tf"))
        for block in parsed(file).get(kind, ())
        for name, body in block.items()
    }


@pytest.mark.parametrize("folder", sorted({one.parent for one in FILES}), ids=lambda one: one.name)
def test_everything_is_described_typed_and_pinned(folder: Path) -> None:
    for name, body in blocks("variable", folder).items():
        assert {"description", "type"} <= body.keys(), name
    for name, body in blocks("output", folder).items():
        assert "description" in body, name
    (settings,) = (
        block for file in sorted(folder.glob("*.tf")) for block in parsed(file).get("terraform", ())
    )
    assert "required_version" in settings
    for required in settings.get("required_providers", ()):
        for name, provider in required.items():
            if isinstance(provider, dict):
                version = next(v for k, v in provider.items() if k.strip('"') == "version")
                assert "~>" in version or "<" in version, name


@pytest.mark.parametrize("folder", sorted({one.parent for one in FILES}), ids=lambda one: one.name)
def test_what_is_named_is_declared_and_what_is_declared_is_named(folder: Path) -> None:
    text = "".join(one.read_text() for one in folder.glob("*.tf"))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == blocks("variable", folder).keys()
    assert set(re.findall(r"\bmodule\.(\w+)", text)) == blocks("module", folder).keys()
    local = {
        name
        for file in folder.glob("*.tf")
        for block in parsed(file).get("locals", ())
        for name in block
        if not name.startswith("__")
    }
    assert set(re.findall(r"\blocal\.(\w+)", text)) == local


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_its_modules_take_and_reads_what_they_tell(example: str) -> None:
    folder = MODULE / "examples" / example
    text = "".join(one.read_text() for one in folder.glob("*.tf"))
    for name, body in blocks("module", folder).items():
        source = (folder / body["source"].strip('"')).resolve()
        takes = blocks("variable", source)
        given = {key for key in body if not key.startswith("__")} - {"source"}
        assert given <= takes.keys(), name
        assert {key for key, one in takes.items() if "default" not in one} <= given, name
        for told in {
            one.split(f"module.{name}.")[1] for one in text.split() if f"module.{name}." in one
        }:
            assert told in blocks("output", source), f"{name}.{told}"


def ran(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed; the workflow runs `terraform test`")
    command = [program, f"-chdir={folder}", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        # It looks for newer versions of itself, and keeps what it heard at home.
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "CHECKPOINT_DISABLE": "1"},
    )


def terraform(folder: Path, *words: str) -> str:
    done = ran(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(folder: Path, *words: str) -> str:
    done = ran(folder, *words)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part without providers, which the real Terraform runs without a network."""
    folder = tmp_path_factory.mktemp("terraform") / "values"
    shutil.copytree(MODULE / "modules" / "values", folder)
    terraform(folder, "init", "-input=false")
    return folder


def test_terraform_itself_runs_its_tests_and_has_nothing_to_format(values: Path) -> None:
    terraform(MODULE, "fmt", "-check", "-recursive", "-diff", ".")
    assert "3 passed, 0 failed" in terraform(values, "test", "-no-color")


def test_values_that_cannot_be_are_refused_by_name(tmp_path: Path) -> None:
    """By Terraform itself, with the variables of the module alone: they need no provider."""
    shutil.copy2(MODULE / "variables.tf", tmp_path)
    terraform(tmp_path, "init", "-input=false")
    wrong: dict[str, object] = {
        "namespace": "default",
        "chart_version": "1.x",
        "chart": "oci://r.example.org/charts/weir",
        "image": {"digest": "latest"},
        "replicas": 0,
        "tls": {"mode": "certManager"},
        "settings": {"rateLimitRedisUrl": "redis://:secret@redis"},
        "redis_url": "http://redis",
        "envoy": {"gateway": "edge"},
        "timeout_seconds": 1,
    }
    for name, value in wrong.items():
        file = tmp_path / "wrong.tfvars.json"
        file.write_text(json.dumps({name: value}))
        said = refused(tmp_path, "plan", "-input=false", "-no-color", f"-var-file={file.name}")
        expected = "chart_version" if name == "chart" else name
        assert f"var.{expected}" in said or f'variable "{expected}"' in said, f"{name}: {said}"


def given(values: Path, **more: object) -> dict[str, Any]:
    """Values of the chart for variables of the module."""
    plain: dict[str, object] = {
        "image": {"registry": "r.example.org", "repository": "weir", "tag": "", "digest": ""},
        "replicas": 3,
        "watch_namespace": None,
        "tls": {"mode": "generated", "secret_name": "", "issuer": None},
        "identities": ["spiffe://example.org/ns/{namespace}/envoy/{node_id}"],
        "settings": {"logLevel": "debug"},
        "secret_environment": {"WEIR_RATE_LIMIT_REDIS_URL": {"name": "weir-redis", "key": "url"}},
        "service_account_annotations": {"example.org/role": "weir"},
        "envoy": {
            "enabled": True, "gateway": "shop/edge", "replicas": 3, "service_type": "LoadBalancer",
            "service_annotations": {"example.org/lb": "internal"},
            "ports": [{"name": "https", "port": 443, "target_port": 8443}],
        },
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    }  # fmt: skip
    (values / "given.tfvars.json").write_text(json.dumps(plain | more))
    terraform(values, "apply", "-auto-approve", "-input=false", "-var-file=given.tfvars.json")
    told = json.loads(terraform(values, "output", "-json"))
    found: dict[str, Any] = yaml.safe_load(told["yaml"]["value"])
    return found


def rendered(values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    file = folder / "chart-values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [
        tools.program("helm"),
        "template",
        "weir",
        str(CHART),
        "-n",
        "weir-system",
        "-f",
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def test_the_chart_takes_every_value_and_it_means_what_was_said(values: Path) -> None:
    """Its schema refuses names that it does not know."""
    objects = rendered(given(values), values)
    found = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    pod = found["Deployment", "weir"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].startswith("r.example.org/weir:")
    environment = {one["name"]: one for one in container["env"]}
    secret = environment["WEIR_RATE_LIMIT_REDIS_URL"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "weir-redis", "key": "url"}
    assert environment["WEIR_LOG_LEVEL"]["value"] == "debug"
    assert "--xds-identity=spiffe://example.org/ns/{namespace}/envoy/{node_id}" in container["args"]
    service = found["Service", "weir-envoy"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert [(one["port"], one["targetPort"]) for one in service["ports"]] == [(443, 8443)]
    assert found["Deployment", "weir-envoy"]["spec"]["replicas"] == 3
    assert found["Deployment", "weir"]["spec"]["replicas"] == 3
    assert ("ServiceMonitor", "weir") in found
    assert ("PrometheusRule", "weir") in found


def test_certificates_come_from_where_it_is_said(values: Path) -> None:
    issuer = {"name": "mesh", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    tls = {"mode": "certManager", "secret_name": "", "issuer": issuer}
    objects = rendered(given(values, tls=tls), values)
    made = {one["metadata"]["name"] for one in objects if one["kind"] == "Certificate"}
    assert made == {"weir-xds", "weir-envoy"}
