"""docker-compose.yml: by the compose specification, and true to what is in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from typer.testing import CliRunner

from controlplane.cli.lab import app
from deploy.compose.rehearse import FILE, services
from deploy.grafana.boards import BOARDS

ROOT = Path(__file__).parents[3]
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = DOCUMENT["services"]


def test_it_is_what_the_specification_asks_for() -> None:
    """By the library of the specification, which refuses what it does not know."""
    assert set(PyCompose.from_json(json.dumps(DOCUMENT)).service_names()) == set(SERVICES)
    with pytest.raises(ValueError, match="imagee"):
        PyCompose.from_json(json.dumps({"services": {"weir": {"imagee": "x"}}}))


def test_what_is_mounted_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name}: {source}"
            else:
                assert source in DOCUMENT["volumes"]


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", [n for n, s in SERVICES.items() if "weir" in s["image"]])
def test_ours_are_not_root_have_no_rights_and_write_nowhere(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "65532:65532"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_image_has_a_version() -> None:
    for service in SERVICES.values():
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest")


def test_profiles_add_services_and_dependencies_come_first() -> None:
    plain = [one.name for one in services(())]
    assert plain.index("weir") < plain.index("envoy-1") < plain.index("load")
    watched = {one.name for one in services(("watch",))} - set(plain)
    assert watched == {"prometheus", "alertmanager", "grafana"}
    profiles = {one for service in SERVICES.values() for one in service.get("profiles", ())}
    assert profiles == {"watch", "limits", "store"}


def test_grafana_begins_with_a_dashboard_of_ours() -> None:
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).stem in {board.uid for board in BOARDS}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["backend", "--listen", "8080"], "HOST:PORT"),
        (["backend", "--speed", "0"], "speed"),
        (["backend", "--slow-by", "2", "--slow-for-s", "500"], "spell"),
        (["load", "--target", "envoy"], "HOST:PORT"),
    ],
)
def test_what_a_lab_program_cannot_do_is_told(words: list[str], why: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    assert why in str(done.exception)
