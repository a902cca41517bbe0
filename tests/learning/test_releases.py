"""Releases compared: who is compared with itself is level, and an average is what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.releases import average, compared, document
from policies.league.suite import RELEASE_SEEDS, Suite
from policies.released import residual_ppo
from policies.training.asked import random_services

pytestmark = pytest.mark.learning


def test_the_average_of_a_release_and_itself_is_it(tmp_path: Path) -> None:
    twice = average([residual_ppo(), residual_ppo()], tmp_path / "averaged")
    one, both = (
        onnxruntime.InferenceSession(str(folder / "model.onnx"))
        for folder in (residual_ppo(), twice)
    )
    for table in random_services(100):
        wanted, got = (run.run(["residual"], {"features": table})[0] for run in (one, both))
        np.testing.assert_allclose(got, wanted, atol=2e-6)
    suite = Suite(("sparse",), (0.7,), ((8, 4),), seeds=2, first_seed=RELEASE_SEEDS)
    first = tmp_path / "first"
    shutil.copytree(residual_ppo(), first)
    found = compared([first, twice], suite, tmp_path / "played.jsonl", jobs=1)
    assert found["averaged", "first"].mean.ratio == pytest.approx(1.0, abs=1e-3)
    assert found["averaged", "model"].mean.ratio != 1.0
    written = json.loads(json.dumps(document(found, [first, twice], suite, "0" * 40 + "+")))
    assert written["commit"] == "0" * 40 + "+"
    for folder in (first, twice):
        manifest = json.loads((folder / "manifest.json").read_text())
        assert written["releases"][folder.name] == manifest["digest"]
    assert written["releases"]["first"] != written["releases"]["averaged"]
    assert (written["cases"], written["first_seed"]) == (2, RELEASE_SEEDS)
    ratios = {(a, b): one["mean"] for a, to in written["ratios"].items() for b, one in to.items()}
    assert ratios == {pair: one.mean.document() for pair, one in found.items()}
