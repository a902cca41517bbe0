"""The bootstraps in `envoy/` and in the chart: `python -m controlplane.translate.examples`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from controlplane.translate.bootstrap import ads_bootstrap, overlay_bootstrap
from controlplane.translate.client_tls import ClientTls

_OWN = """\
# An Envoy that Weir configures ({protocol}). Change node.id for each Envoy, node.cluster to the
# namespace/name of its Gateway, and the address of Weir at the end.
"""
_MTLS = """\
# An Envoy that Weir configures over mutual TLS ({protocol}). sds-client.yaml and sds-ca.yaml
# belong to it, in the folder that path_config_source names: they say where its certificates are.
# Change what own.yaml says, the folders, and the name of Weir (three times).
"""
_COMPOSE = """\
# The Envoys of docker-compose.yml: own-delta.yaml with a listener that shows others their numbers.
# Each is told its own node.id by --service-node.
"""
_FILES = """\
# Belongs to mtls.yaml and mtls-delta.yaml. watched_directory is the folder of the files: new ones
# are renamed into it, or it is a mounted Secret of Kubernetes.
"""
_OVERLAY = """\
# An Envoy that keeps its own configuration and takes the endpoints of one cluster from Weir
# ({protocol}). What yours needs of it:
# - node.id and dynamic_resources, and the cluster `weir`;
# - in the cluster that Weir balances (its name is your affair, service_name is what Weir is asked
#   for): type, eds_cluster_config, load_balancing_policy, common_lb_config, outlier_detection.
# access_log and cluster_manager may be left out; Weir then reads Envoy's numbers from Prometheus.
"""


TLS = ClientTls(
    certificate="/etc/envoy/tls/tls.crt",
    key="/etc/envoy/tls/tls.key",
    ca="/etc/envoy/tls/ca.crt",
    server_name="weir.example.org",
    secrets="/etc/envoy/sds",
)


def examples() -> Mapping[str, str]:
    """The files by name."""
    found = {}
    for delta, ending in ((False, ""), (True, "-delta")):
        protocol = "Delta xDS" if delta else "state of the world xDS"
        own = ads_bootstrap(node_id="envoy-1", fleet="default/edge", delta=delta)
        overlay = overlay_bootstrap(
            node_id="envoy-1", service="default/web", listen_port=8080, delta=delta
        )
        found[f"own{ending}.yaml"] = _OWN.format(protocol=protocol) + _yaml(own)
        mtls = ads_bootstrap(
            node_id="envoy-1",
            fleet="default/edge",
            xds_host="weir.example.org",
            delta=delta,
            tls=TLS,
        )
        found[f"mtls{ending}.yaml"] = _MTLS.format(protocol=protocol) + _yaml(mtls)
        found[f"overlay{ending}.yaml"] = _OVERLAY.format(protocol=protocol) + _yaml(overlay)
    composed = ads_bootstrap(
        node_id="envoy",
        fleet="default/edge",
        xds_host="weir",
        stats_port=9902,
        delta=True,
    )
    found["compose.yaml"] = _COMPOSE + _yaml(composed)
    for name, secret in TLS.files().items():
        found[name] = _FILES + _yaml(secret)
    return found


def chart_files() -> Mapping[str, str]:
    """The files in `charts/weir/bootstrap`, in which the chart puts its own words."""
    tls = replace(TLS, server_name="WEIR_HOST")
    envoy = ads_bootstrap(
        node_id="envoy",
        fleet="NODE_CLUSTER",
        xds_host="WEIR_HOST",
        delta=True,
        tls=tls,
        stats_port=9902,
    )
    overlay = overlay_bootstrap(
        node_id="envoy",
        service="TARGET",
        listen_host="LISTEN_HOST",
        listen_port=8080,
        xds_host="WEIR_HOST",
        delta=True,
        tls=tls,
        stats_port=9902,
    )
    for one in (envoy, overlay):
        one["node"]["metadata"] = {"weir.dev/workers": "WORKERS"}
    found = {"own.yaml": _yaml(envoy), "overlay.yaml": _yaml(overlay)}
    for word, port in (("XDS_PORT", 18000), ("LISTEN_PORT", 8080)):  # no whole number is a word
        for name, text in found.items():
            found[name] = text.replace(f"port_value: {port}\n", f"port_value: {word}\n")
    return {**found, **{name: _yaml(secret) for name, secret in tls.files().items()}}


class _Plain(yaml.SafeDumper):
    """Writes shared parts out instead of naming them."""

    def ignore_aliases(self, data: object) -> bool:
        """There are none."""
        return True


def _yaml(bootstrap: Mapping[str, Any]) -> str:
    return yaml.dump(dict(bootstrap), Dumper=_Plain, sort_keys=False, width=100)


def main(root: Path) -> None:
    """Write both kinds of files under the root of the repository."""
    for folder, files in (("envoy", examples()), ("charts/weir/bootstrap", chart_files())):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
