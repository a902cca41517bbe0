"""The Dockerfiles: hadolint's rules and what they promise; `deploy.images.rehearse` builds them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy.images.dockerfile import Stage, stages

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "deploy" / "images").glob("*.Dockerfile"))
SERVE = ROOT / "deploy" / "images" / "serve.Dockerfile"


def words(all_of: list[Stage]) -> list[str]:
    return [one.text for stage in all_of for one in stage.instructions if one.word == "RUN"]


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.stem)
def test_what_runs_is_not_root_and_was_built_elsewhere(file: Path) -> None:
    built, runs = stages(file)
    assert runs.last("USER") == "65532:65532"
    assert not any(one.word == "RUN" for one in runs.instructions)
    assert "--constraint constraints.txt" in " ".join(words([built]))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in runs.last("LABEL")


def test_serving_has_no_torch_and_its_probe_is_what_the_health_check_asks() -> None:
    built, runs = stages(SERVE)
    assert "[train]" not in " ".join(words([built]))
    port = runs.environment["WEIR_PROBE_ADDRESS"].rpartition(":")[2]
    assert f"127.0.0.1:{port}/healthz" in runs.words_of("HEALTHCHECK")[-1]
    assert port in runs.last("EXPOSE").split()
    assert runs.words_of("CMD")[0] == "serve"


def test_bytecode_is_made_for_modules_that_there_are() -> None:
    """A start would compile what is missing each time: nothing in the image can be written."""
    built, _ = stages(SERVE)
    (line,) = (one for one in words([built]) if "pip install" in one)
    found = re.search('-c "import ([^"]+)"', line)
    assert found is not None
    modules = found[1].split(", ")
    assert {"controlplane.app", "controlplane.cli.serve"} <= set(modules)
    for module in modules:
        assert find_spec(module), module


def test_an_instruction_that_a_rehearsal_would_skip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\nADD a b\n")
    with pytest.raises(ValueError, match="ADD"):
        stages(file)


def test_arguments_are_put_in_and_lines_joined(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        "ARG BASE=debian:12\nFROM ${BASE} AS one\n# a word\nRUN a \\\n    && b\nENV A=1 \\\n  B=2\n"
    )
    (stage,) = stages(file)
    assert (stage.base, stage.name) == ("debian:12", "one")
    assert stage.last("RUN") == "a && b"
    assert stage.environment == {"A": "1", "B": "2"}


def test_a_package_that_is_built_from_a_clean_tree_has_its_messages_and_recipes(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tree)
    shutil.copytree(ROOT / "protos", tree / "protos")
    for package in ("controlplane", "policies"):
        ignored = shutil.ignore_patterns("_pb", "__pycache__", "lab", "released")
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    made = tmp_path / "made"
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", str(made)],
        cwd=tree, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    protos = {one.stem for one in (ROOT / "protos").glob("*.proto")}
    assert {
        one.stem.removesuffix("_pb2") for one in made.glob("controlplane/_pb/*_pb2.py")
    } == protos
    recipes = {one.name for one in (ROOT / "policies").rglob("recipes/*.yaml")}
    assert {one.name for one in made.glob("policies/training/recipes/*.yaml")} == recipes
