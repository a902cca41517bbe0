from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.translate.bootstrap import ads_bootstrap, overlay_bootstrap
from controlplane.translate.client_tls import ClientTls
from controlplane.translate.examples import chart_files, examples

ROOT = Path(__file__).parents[3]
FOLDER, CHART = ROOT / "envoy", ROOT / "charts" / "weir" / "bootstrap"


@pytest.mark.parametrize("name", sorted(chart_files()))
def test_the_files_of_the_chart_are_what_the_code_gives(name: str) -> None:
    assert (CHART / name).read_text() == chart_files()[name], (
        "python -m controlplane.translate.examples"
    )


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_files_in_envoy_are_what_the_functions_give(name: str) -> None:
    assert (FOLDER / name).read_text() == examples()[name], (
        "write them anew: python -m controlplane.translate.examples"
    )


def test_the_files_hold_the_bootstraps_and_nothing_else() -> None:
    own = yaml.safe_load(examples()["own.yaml"])
    assert own == json.loads(json.dumps(ads_bootstrap(node_id="envoy-1", fleet="default/edge")))


TLS = ClientTls("/a/tls.crt", "/a/tls.key", "/b/ca.crt", "weir.test", "/c")


def of_weir(bootstrap: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [one for one in bootstrap["static_resources"]["clusters"] if one["name"] == "weir"]
    return found


def test_without_tls_an_envoy_connects_in_plaintext() -> None:
    assert "transport_socket" not in of_weir(ads_bootstrap(node_id="e", fleet="default/edge"))


def test_both_kinds_of_envoy_connect_by_the_same_tls() -> None:
    own = ads_bootstrap(node_id="e", fleet="default/edge", tls=TLS)
    overlay = overlay_bootstrap(node_id="e", service="default/web", listen_port=1, tls=TLS)
    assert of_weir(own)["transport_socket"] == of_weir(overlay)["transport_socket"]


@pytest.mark.parametrize(
    ("server_name", "kind"), [("weir.test", "DNS"), ("spiffe://example.org/weir", "URI")]
)
def test_the_name_of_the_server_is_verified_as_what_it_is(server_name: str, kind: str) -> None:
    context = dataclasses.replace(TLS, server_name=server_name).transport_socket()["typed_config"]
    validation = context["common_tls_context"]["combined_validation_context"]
    names = validation["default_validation_context"]["match_typed_subject_alt_names"]
    assert names == [{"san_type": kind, "matcher": {"exact": server_name}}]
    assert context.get("sni") == (server_name if kind == "DNS" else None)


def test_the_secret_files_stand_where_the_bootstrap_looks_and_watch_their_folders() -> None:
    context = TLS.transport_socket()["typed_config"]["common_tls_context"]
    validation = context["combined_validation_context"]
    wanted = {
        one["sds_config"]["path_config_source"]["path"]: one["name"]
        for one in (
            *context["tls_certificate_sds_secret_configs"],
            validation["validation_context_sds_secret_config"],
        )
    }
    files = {f"/c/{name}": content["resources"][0] for name, content in TLS.files().items()}
    assert wanted == {path: secret["name"] for path, secret in files.items()}
    assert [
        part["watched_directory"]["path"]
        for secret in files.values()
        for part in secret.values()
        if isinstance(part, dict)
    ] == ["/a", "/b"]
