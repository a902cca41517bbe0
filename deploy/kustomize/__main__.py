"""Write the objects of the chart as a kustomize base, and what its overlays need of the chart.

    python -m deploy.kustomize [FOLDER]

Helm renders them; what only Helm needs (its labels, its test) goes. Certificates are not made here:
Helm makes some for whoever installs, a base cannot. The base wants a Secret `weir-xds`; the
overlay `standard` has cert-manager make it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
NAMESPACE = "weir-system"
SECRET = "weir-xds"  # noqa: S105 (a name)
ISSUER = {"name": "weir-ca", "kind": "Issuer", "group": "cert-manager.io"}
HEADER = "# Made from charts/weir by `make kustomize`: change it there.\n"
_HELM_S = 60.0

Object = dict[str, Any]


def rendered(*options: str) -> list[Object]:
    """What Helm installs by these options, without its hooks. Raises `RuntimeError`."""
    beside = str(Path(sys.executable).parent)
    helm = shutil.which("helm", path=beside) or shutil.which("helm")
    if helm is None:
        raise RuntimeError("helm is not installed: `make tools`")
    command = [helm, "template", "weir", str(ROOT / "charts" / "weir"), "--namespace", NAMESPACE]
    options = ("--set=crds.enabled=false", *options)
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=_HELM_S)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    objects = (one for one in yaml.safe_load_all(done.stdout) if one)
    return [one for one in objects if "helm.sh/hook" not in annotated(one)]


def annotated(one: Object) -> Mapping[str, str]:
    """The annotations of an object."""
    found: Mapping[str, str] = one["metadata"].get("annotations") or {}
    return found


def without_helm(node: Any) -> Any:  # noqa: ANN401 (any part of an object)
    """The same without labels that say that Helm manages it."""
    if isinstance(node, list):
        return [without_helm(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: without_helm(value) for key, value in node.items() if key != "helm.sh/chart"}
    if kept.get("app.kubernetes.io/managed-by") == "Helm":
        kept["app.kubernetes.io/managed-by"] = "kustomize"
    return kept


def files() -> dict[str, list[Object]]:
    """What is made, by its path in this folder."""
    existing = ("--set=xds.tls.mode=existing", f"--set=xds.tls.secretName={SECRET}")
    issuer = f"--set-json=xds.tls.issuerRef={json.dumps(ISSUER)}"
    certified = rendered("--set=xds.tls.mode=certManager", issuer)
    return {
        "base/weir.yaml": wherever(rendered(*existing)),
        "overlays/namespaced/weir.yaml": wherever(
            rendered(*existing, f"--set=watchNamespace={NAMESPACE}")
        ),
        "overlays/standard/certificates.yaml": [
            one for one in certified if one["kind"] == "Certificate"
        ],
    }


def wherever(objects: list[Object]) -> list[Object]:
    """The same in whatever namespace: Kubernetes fills its name into arguments."""
    for one in objects:
        if one["kind"] == "Deployment":
            for container in one["spec"]["template"]["spec"]["containers"]:
                container["args"] = [
                    said.replace(NAMESPACE, "$(POD_NAMESPACE)") for said in container["args"]
                ]
    return objects


def text(objects: Iterable[Object]) -> str:
    """Objects as a file."""
    return HEADER + yaml.safe_dump_all(
        [without_helm(one) for one in objects], sort_keys=False, width=120, explicit_start=True
    )


def main(to: Path) -> None:
    """Write them."""
    for path, objects in files().items():
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        (to / path).write_text(text(objects))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
