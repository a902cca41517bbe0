"""A released model is a function and says nothing of the machine that trained it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from policies.training.asked import INPUTS
from policies.training.export import export
from policies.training.strip import same_answers, strip, strip_release
from tests.learning.test_training import lively

pytestmark = pytest.mark.learning

RELEASED = Path(__file__).parents[2] / "policies" / "released"
TRACE = 'File "/home/somebody/weir/policies/agents/network.py", line 103, in forward'
PATH = re.compile(rb"\.pyc?\b|File \"|/(?:home|root|usr|opt|srv|Users)/")


def talkative(content: bytes) -> bytes:
    """The same model with what torch's exporter would say of where it was made, everywhere."""
    model = onnx.load_model_from_string(content)
    model.doc_string = TRACE
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=TRACE)
    for part in (*model.graph.node, *model.graph.initializer):
        part.doc_string = TRACE
    return bytes(model.SerializeToString(deterministic=True))


def stripped(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    strip(model)
    return bytes(model.SerializeToString(deterministic=True))


def test_no_file_of_a_release_holds_a_path_of_the_machine_that_trained_it() -> None:
    files = [path for path in RELEASED.glob("*/*") if path.is_file()]
    assert {path.name for path in files} >= {"model.onnx", "manifest.json"}
    for path in files:
        found = PATH.search(path.read_bytes())
        assert found is None, (path, found)
    assert PATH.search(talkative((RELEASED / "residual-ppo/model.onnx").read_bytes()))


@pytest.mark.parametrize("name", sorted(p.parent.name for p in RELEASED.glob("*/model.onnx")))
def test_stripping_a_released_model_changes_no_answer_to_ten_thousand_inputs(name: str) -> None:
    content = (RELEASED / name / "model.onnx").read_bytes()
    said = talkative(content)
    assert stripped(said) == content
    assert same_answers(said, stripped(said), INPUTS)


def test_a_released_model_is_below_a_megabyte() -> None:
    sizes = [path.stat().st_size for path in RELEASED.glob("*/model.onnx")]
    assert sizes
    assert max(sizes) < 1_000_000


def test_a_model_that_answers_otherwise_in_the_last_bits_is_noticed() -> None:
    content = (RELEASED / "residual-ppo/model.onnx").read_bytes()
    model = onnx.load_model_from_string(content)
    bias = next(one for one in model.graph.initializer if one.name == "actor.head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1e-5, bias.name))
    assert not same_answers(content, model.SerializeToString())


def test_what_is_exported_is_stripped_already(tmp_path: Path) -> None:
    export(lively(), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert stripped(content) == content


def test_a_release_is_rewritten_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(RELEASED / "residual-ppo", folder)
    before = contents(folder)
    (folder / "model.onnx").write_bytes(talkative(before["model.onnx"]))
    digest = strip_release(folder)
    assert contents(folder) == before
    assert json.loads(before["manifest.json"])["digest"] == digest


def contents(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
