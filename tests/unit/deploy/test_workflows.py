"""The workflows: by zizmor's rules, and true to what is in the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
USES = re.compile(r"uses: (?P<action>[\w./-]+)@(?P<pin>\S+)(?: # (?P<version>v[\d.]+))?")


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def test_zizmor_finds_nothing() -> None:
    """The strict persona, without the network: pins, permissions, injections, caches and more."""
    zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    assert zizmor, "zizmor is not installed: `make install`"
    command = [zizmor, "--offline", "--persona", "pedantic", str(ROOT / ".github")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_every_job_has_an_end_and_no_more_rights_than_it_names(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for name, job in jobs(file).items():
        assert 1 <= job["timeout-minutes"] <= 90, name
        writes = {scope for scope, right in job["permissions"].items() if right == "write"}
        assert not writes or file.stem == "release", name
        assert not re.search(r"latest$", job["runs-on"]), name


def test_every_action_is_pinned_by_digest_and_everywhere_by_the_same() -> None:
    pins: dict[str, set[tuple[str, str]]] = {}
    for file in FILES:
        text = file.read_text()
        found = list(USES.finditer(text))
        assert len(found) == len(re.findall(r"\buses:", text)), file.name
        for one in found:
            assert re.fullmatch("[0-9a-f]{40}", one["pin"]), one[0]
            assert one["version"], one[0]
            pins.setdefault(one["action"], set()).add((one["pin"], one["version"]))
    assert {action: len(found) for action, found in pins.items() if len(found) > 1} == {}


def test_what_they_run_is_there() -> None:
    for file in FILES:
        for name, job in jobs(file).items():
            for step in job["steps"]:
                where = f"{file.name}, {name}"
                script = step.get("run", "")
                for target in re.findall(r"\bmake ([a-z-]+)", script):
                    assert target in TARGETS, where
                for module in re.findall(r"-m (deploy\.\w+)", script):
                    assert (ROOT / f"{module.replace('.', '/')}.py").exists(), where
                for path in re.findall(r"(?:^|\s)((?:deploy|charts|\.ci)/[\w./-]+)", script):
                    assert (ROOT / path).exists(), f"{where}: {path}"
                for path in step.get("with", {}).values():
                    if str(path).startswith(("deploy/", "charts/")) and "$" not in path:
                        assert (ROOT / path).exists(), f"{where}: {path}"


def test_what_runs_here_for_nothing_runs_there_for_real() -> None:
    """CI is `.ci/run`; every Dockerfile is built; every folder of Terraform is validated."""
    texts = {file.stem: file.read_text() for file in FILES}
    assert "- run: .ci/run" in texts["ci"]
    for file in (ROOT / "deploy" / "images").glob("*.Dockerfile"):
        assert f"image: {file.stem}," in texts["images"]
        assert f"file: {file.stem}," in texts["release"]
    terraform = ROOT / "deploy" / "terraform"
    validated = re.search(r"for folder in (.*); do", texts["terraform"])
    assert validated is not None
    folders = {str(one.parent.relative_to(terraform)) for one in terraform.rglob("*.tf")}
    assert set(validated[1].split()) == folders
