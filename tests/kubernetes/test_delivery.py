"""What kustomize and Argo CD are given is the chart; what the end to end test applies is valid."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.kustomize import __main__ as kustomize
from tests.kubernetes import tools
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.scene import scene
from tests.kubernetes.test_chart import CHART, NOT_PUBLISHED, ROOT

OVERLAYS = ROOT / "deploy" / "kustomize" / "overlays"
ARGOCD = ROOT / "deploy" / "argocd"
CLUSTER_WIDE = {
    "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "GatewayClass", "Namespace",
    "ValidatingWebhookConfiguration",
}  # fmt: skip
Object = dict[str, Any]


def built(folder: Path) -> list[Object]:
    done = subprocess.run(
        [tools.program("kubectl"), "kustomize", str(folder)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def by_name(objects: Iterable[Object]) -> dict[tuple[str, str], Object]:
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def test_the_base_is_the_chart() -> None:
    """Made again it is the same file, and kustomize reads in it what Helm installs."""
    for path, objects in kustomize.files().items():
        assert (kustomize.FOLDER / path).read_text() == kustomize.text(objects), (
            f"{path} is not what the chart says now: `make kustomize`"
        )
    existing = ("--set=xds.tls.mode=existing", "--set=xds.tls.secretName=weir-xds")
    installed = kustomize.wherever(kustomize.rendered(*existing))
    base = by_name(built(kustomize.FOLDER / "base"))
    assert base == by_name(kustomize.without_helm(one) for one in installed)
    assert "Helm" not in yaml.safe_dump_all(base.values())


@pytest.mark.parametrize("name", ["standard", "namespaced"])
def test_an_overlay_is_whole_valid_and_in_the_namespace_that_it_says(
    name: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "kustomization.yaml"
    relative = Path("../" * len(tmp_path.parts[1:])) / str(OVERLAYS / name).lstrip("/")
    elsewhere.write_text(yaml.safe_dump({"namespace": "edge", "resources": [str(relative)]}))
    objects = built(tmp_path)
    for one in objects:
        group = one["apiVersion"].partition("/")[0]
        if group not in NOT_PUBLISHED and one["kind"] != "CustomResourceDefinition":
            kubernetes_validate.validate(one, "1.33", strict=True)
        if one["kind"] not in CLUSTER_WIDE:
            assert one["metadata"]["namespace"] == "edge", one["metadata"]
        for subject in one.get("subjects", ()):
            assert subject["namespace"] == "edge", one["metadata"]
        for webhook in one.get("webhooks", ()):
            assert webhook["clientConfig"]["service"]["namespace"] == "edge"
    found = by_name(objects)
    mounted = found["Deployment", "weir"]["spec"]["template"]["spec"]["volumes"][0]["secret"][
        "secretName"
    ]
    if name == "standard":
        assert len([kind for kind, _ in found if kind == "CustomResourceDefinition"]) == 7
        assert found["Certificate", "weir-xds"]["spec"]["secretName"] == mounted
        issuer = found["Certificate", "weir-xds"]["spec"]["issuerRef"]
        assert found["Issuer", issuer["name"]]["spec"]["ca"]["secretName"] == "weir-ca"
        return
    assert not CLUSTER_WIDE & {kind for kind, _ in found}
    options = (
        f"--set=watchNamespace={kustomize.NAMESPACE}",
        "--set=xds.tls.mode=existing",
        "--set=xds.tls.secretName=x",
    )
    assert set(found) == set(by_name(kustomize.rendered(*options)))
    (container,) = found["Deployment", "weir"]["spec"]["template"]["spec"]["containers"]
    assert "--namespace=$(POD_NAMESPACE)" in container["args"]


def rendered(values: Object, tmp_path: Path) -> dict[tuple[str, str], Object]:
    file = tmp_path / "argocd-values.yaml"
    file.write_text(yaml.safe_dump(values))
    return by_name(kustomize.rendered("--values", str(file)))


def test_the_application_names_this_version_and_the_chart_takes_its_values(tmp_path: Path) -> None:
    crds, weir = yaml.safe_load_all((ARGOCD / "application.yaml").read_text())
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    waves = [
        int(one["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for one in (crds, weir)
    ]
    assert waves == sorted(waves)
    assert waves[0] < waves[1]
    for one in (crds, weir):
        assert one["spec"]["source"]["targetRevision"] == f"v{version}"
        assert (ROOT / one["spec"]["source"]["path"] / "Chart.yaml").exists()
        assert "ServerSideApply=true" in one["spec"]["syncPolicy"]["syncOptions"]
    assert crds["spec"]["syncPolicy"]["automated"]["prune"] is False
    helm = weir["spec"]["source"]["helm"]
    objects = rendered(helm["valuesObject"], tmp_path)
    # Rendered without a cluster, certificates of Helm's would be new at each look.
    assert not any(one.get("data") for (kind, _), one in objects.items() if kind == "Secret")
    project = yaml.safe_load((ARGOCD / "project.yaml").read_text())["spec"]
    allowed = {one["kind"] for one in project["clusterResourceWhitelist"]}
    assert {kind for kind, _ in objects} & CLUSTER_WIDE <= allowed
    assert "CustomResourceDefinition" in allowed
    assert {crds["spec"]["source"]["repoURL"], weir["spec"]["source"]["repoURL"]} == set(
        project["sourceRepos"]
    )


def templated(texts: dict[str, str], parameters: Object, folder: Path) -> dict[str, str]:
    """Go's templates with Sprig, as Argo CD has them, by the program here that has both: Helm."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: templates, version: 0.1.0}\n")
    (folder / "values.yaml").write_text(yaml.safe_dump(parameters))
    for name, text in texts.items():
        inner = "\n".join(f"  {line}" for line in text.splitlines())
        # An object of its own for each: Helm wants to read what comes out.
        whole = f"made: |\n{{{{- with .Values }}}}\n{inner}\n{{{{- end }}}}\n"
        (folder / "templates" / f"{name}.yaml").write_text(whole)
    done = subprocess.run(
        [tools.program("helm"), "template", "made", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    parts = re.split(r"(?m)^# Source: templates/templates/(\w+)\.yaml$", done.stdout)
    return {
        name: yaml.safe_load(text.removesuffix("---\n"))["made"]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize(
    ("part", "labels", "annotations"),
    [
        ("crds", {"weir.dev/install": "true"}, {}),
        (
            "control-plane",
            {"weir.dev/install": "true", "weir.dev/ring": "canary"},
            {"weir.dev/replicas": "4"},
        ),
        (
            "control-plane",
            {"weir.dev/install": "true"},
            {"weir.dev/issuer": "own", "weir.dev/registry": "r.example"},
        ),
    ],
)
def test_the_set_makes_of_a_cluster_what_the_chart_takes(
    part: str, labels: dict[str, str], annotations: dict[str, str], tmp_path: Path
) -> None:
    spec = yaml.safe_load((ARGOCD / "applicationset.yaml").read_text())["spec"]
    clusters, elements = spec["generators"][0]["matrix"]["generators"]
    element = next(one for one in elements["list"]["elements"] if one["part"] == part)
    parameters = element | {
        "name": "Edge 1", "nameNormalized": "edge-1", "server": "https://edge-1.example.org",
        "metadata": {"labels": labels, "annotations": annotations},
    }  # fmt: skip
    assert clusters["clusters"]["selector"]["matchLabels"].items() <= labels.items()
    texts = {
        "template": yaml.safe_dump(spec["template"], width=10_000),
        "patch": spec["templatePatch"],
    }
    made = templated(texts, parameters, tmp_path / "chart")
    application = yaml.safe_load(made["template"])
    assert application["metadata"]["name"] == f"{element['application']}-edge-1"
    assert (ROOT / application["spec"]["source"]["path"] / "Chart.yaml").exists()
    told = application["metadata"]["labels"]
    matching = [
        at
        for at, step in enumerate(spec["strategy"]["rollingSync"]["steps"])
        if all(
            (told[one["key"]] in one["values"]) == (one["operator"] == "In")
            for one in step["matchExpressions"]
        )
    ]
    assert matching == [
        0 if part == "crds" else 1 if labels.get("weir.dev/ring") == "canary" else 2
    ]
    patch = yaml.safe_load(made["patch"])
    if part == "crds":
        assert patch is None
        return
    objects = rendered(patch["spec"]["source"]["helm"]["valuesObject"], tmp_path)
    assert not any(one.get("data") for (kind, _), one in objects.items() if kind == "Secret")
    issuer = objects["Certificate", "weir-xds"]["spec"]["issuerRef"]["name"]
    assert issuer == annotations.get("weir.dev/issuer", "mesh")
    replicas = int(annotations.get("weir.dev/replicas", "2"))
    assert objects["Deployment", "weir"]["spec"]["replicas"] == replicas


def test_what_the_end_to_end_test_applies_is_taken_and_what_it_means_to_be_refused_is(
    tmp_path: Path,
) -> None:
    """By kubectl, as there; the definitions of the Gateway API here have its names alone."""
    folder = ROOT / "deploy" / "kind"
    script = (folder / "e2e").read_text()
    with ApiServer() as server, scene(server):
        cluster = Cluster(server.write_kubeconfig(tmp_path / "kubeconfig"), "default", server)
        cluster.kubectl("apply", "--server-side", "--filename", str(folder / "shop.yaml"))
        wrong = re.search(r"--patch '(.*?)'", script)
        assert wrong is not None
        said = cluster.refused(
            "patch", "balancingpolicy", "web", "--type", "merge", "--patch", wrong[1]
        )
        assert "maxShare" in said
        base = subprocess.run(
            [tools.program("kubectl"), "kustomize", str(OVERLAYS.parent / "base")],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip
        system = Cluster(cluster.kubeconfig, kustomize.NAMESPACE, server)
        system.begin()
        # As the script does: nothing is made, and everything could be.
        system.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", given=base)
    for path in re.findall(r"deploy/[\w/.-]+\.yaml", script):
        assert (ROOT / path).exists(), path
    assert rendered(yaml.safe_load((folder / "values.yaml").read_text()), tmp_path)
