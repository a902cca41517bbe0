"""`weir validate --envoy` with programs in place of Envoy: what is refused, and where it stands."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from controlplane.cli.envoy_check import problems
from controlplane.errors import StartupError
from tests.unit.translate.scenes import declared

DOCUMENTS = (
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
    "spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}\n",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n"
    "spec:\n  parentRefs: [{name: edge}]\n  rules:\n"
    "  - backendRefs: [{name: web}]\n"
    "    matches: [{path: {value: /a}}, {path: {value: /b}}]\n"
    "  - backendRefs: [{name: web}]\n"
    "    matches: [{path: {value: /c}}]\n",
    "apiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: web}\n"
    "spec: {endpoints: [{fqdn: {hostname: a.example, port: 80}}]}\n",
)


def program(folder: Path, refuses: str) -> Path:
    """Refuses a file that has this text, as Envoy does: with a line on stderr and a status of 1."""
    made = folder / "envoy"
    made.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "file = sys.argv[sys.argv.index('-c') + 1]\n"
        f"if {refuses!r} in open(file).read():\n"
        "    sys.stderr.write('[2026-01-01 00:00:00.000][7][critical][main] "
        "[source/server/server.cc:436] error initializing configuration ' + repr(file) + "
        "': not that\\n')\n"
        "    sys.exit(1)\n"
    )
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return made


@pytest.mark.parametrize(
    ("refuses", "where", "found"),
    [
        ('"/c"', ("HTTPRoute default/web", "spec.rules[1].matches[0]", 14), "rds"),
        ('"/b"', ("HTTPRoute default/web", "spec.rules[0].matches[1]", 12), "rds"),
        ("http_connection_manager", ("Gateway default/edge", "", 1), "lds"),
        ("least_request", ("Backend default/web", "", 17), "cds"),
    ],
)
def test_what_is_refused_is_traced_to_its_document(
    tmp_path: Path, refuses: str, where: tuple[str, str, int], found: str
) -> None:
    (one,) = problems(declared(*DOCUMENTS), program(tmp_path, refuses))
    assert (one.object, one.field, one.line) == where
    assert one.file == "all.yaml"
    assert one.message.startswith(f"Envoy refuses {found} ")
    assert one.message.endswith("of fleet default/edge: not that")


def test_an_address_is_refused_in_each_fleet_that_is_sent_it(tmp_path: Path) -> None:
    found = problems(declared(*DOCUMENTS), program(tmp_path, "192.0.2.1"))
    assert [one.object for one in found] == ["Backend default/web"] * 2
    assert [one.message.partition(":")[0].rpartition(" ")[2] for one in found] == [
        "default/edge",
        "overlay",
    ]


def test_several_are_found_in_one_go(tmp_path: Path) -> None:
    several = [
        DOCUMENTS[2].replace("name: web", f"name: web-{number}").replace("a.example", f"{host}")
        for number, host in enumerate(("a.example", "b.example"))
    ]
    found = problems(declared(*several), program(tmp_path, "192.0.2.1"))
    assert [one.object for one in found] == ["Backend default/web-0", "Backend default/web-1"]


def test_nothing_refused_is_no_problem_and_nothing_is_run_without_need(tmp_path: Path) -> None:
    assert problems(declared(*DOCUMENTS), program(tmp_path, "never in it")) == []


def test_a_program_that_is_no_envoy_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="does not take even an empty configuration"):
        problems(declared(*DOCUMENTS), program(tmp_path, "static_resources"))
    with pytest.raises(StartupError, match="--envoy PATH"):
        problems(declared(*DOCUMENTS), tmp_path / "nothing")
