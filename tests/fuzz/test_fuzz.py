"""A short, bounded run of every fuzz target, and what each must find if it were there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

pytest.importorskip("atheris", reason="atheris is made for Linux on x86-64 alone")

ROOT = Path(__file__).parents[2]
RUNS = 20_000


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_survives(target: str, tmp_path: Path) -> None:
    """The seed makes a failure the same one again; libFuzzer leaves its input in the folder."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds()[target]):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", target),
            *(f"-runs={RUNS}", "-seed=1", "-max_len=512", "-max_total_time=60"),
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {RUNS}" in done.stderr, "it gave up before its runs were over"
