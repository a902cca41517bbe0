from __future__ import annotations

import json
import subprocess
import sys

from controlplane.cli.root import VERBS


def weir(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_verb_and_those_of_other_distributions() -> None:
    shown = weir("--help").stdout
    for verb in [*VERBS, "train", "evaluate"]:
        assert f"  {verb} " in shown


def test_every_verb_of_the_table_can_be_asked_for_help() -> None:
    for verb in VERBS:
        done = weir(verb, "--help")
        assert done.returncode == 0, f"{verb}: {done.stderr}"


def test_an_unknown_verb_is_a_usage_error() -> None:
    done = weir("balance")
    assert done.returncode == 2
    assert "balance" in done.stderr


def test_version_speaks_json() -> None:
    assert "model" in json.loads(weir("version", "--output", "json").stdout)["policies"]


def test_an_error_of_ours_is_one_line_with_advice() -> None:
    done = weir("weights", "explain", "cart", "--admin-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("weir: no answer from 127.0.0.1:1")
    assert "Traceback" not in done.stderr
