"""Expressions on series that a test writes down, evaluated by promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def has(
    values: int,
    expr: str,
    series: Mapping[str, str],
    folder: Path,
    *,
    at: str,
    rules: Sequence[Path] = (),
) -> bool:
    """Whether it has so many values then. `series` in promtool's notation, a sample a minute."""
    wanted = {"labels": "{}", "value": values}
    counted = {"expr": f"count({expr}) or vector(0)", "eval_time": at, "exp_samples": [wanted]}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": one} for name, one in series.items()],
        "promql_expr_test": [counted],
    }
    document = {"rule_files": [str(rule) for rule in rules], "evaluation_interval": "1m"}
    file = folder / "test.yaml"
    file.write_text(json.dumps(document | {"tests": [test]}))
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run(
        [promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "exp:" in said, said  # nothing else is wrong with the test
    return done.returncode == 0
