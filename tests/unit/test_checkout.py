from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controlplane.checkout import commit


def git(root: Path, *arguments: str) -> str:
    asked = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run([*asked, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for name in (
        "controlplane/loop.py",
        "policies/env.py",
        "policies/released/a/card.md",
        "README",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("committed\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("changed", ["controlplane/loop.py", "policies/new.py"])
def test_code_that_was_not_committed_is_told(checkout: Path, changed: str) -> None:
    (checkout / changed).write_text("other\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD") + "+"


@pytest.mark.parametrize("changed", ["README", "policies/released/.a.new/model.onnx"])
def test_neither_a_page_nor_a_release_that_is_being_made_is_code(
    checkout: Path, changed: str
) -> None:
    (checkout / changed).parent.mkdir(exist_ok=True)
    (checkout / changed).write_text("other\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_outside_of_a_checkout_nothing_is_made_up(tmp_path: Path) -> None:
    assert commit(tmp_path / "nowhere") == "unknown"
