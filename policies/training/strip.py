"""Takes out of an exported model what it tells of the machine that trained it.

torch's exporter writes stack traces, with the paths of source files, into the metadata of every
node. They are no part of the function: https://onnx.ai/onnx/repo-docs/IR.html calls `doc_string`
human-readable documentation and `metadata_props` pairs that tools may keep beside the model.

    python -m policies.training.strip FOLDER    # a release: its model, digest and card
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from policies.training.asked import INPUTS, random_services, session
from policies.training.card import card


def strip(model: Any) -> None:  # noqa: ANN401 - onnx has no types
    """Empty every `doc_string` and every `metadata_props` in a message, at any depth."""
    for field, value in model.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            model.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                strip(part)


def same_answers(before: bytes, after: bytes, inputs: int = INPUTS) -> bool:
    """Whether two models answer alike, to the last bit, for random services."""
    old, new = session(before), session(after)
    for table in random_services(inputs):
        answers = [one.run(None, {"features": table})[0] for one in (old, new)]
        if not np.array_equal(*answers):
            return False
    return True


def strip_release(folder: Path) -> str:
    """Rewrite the model of a release, its digest in manifest and card; the new digest.

    Nothing is written where the stripped model answers otherwise than the one that is there.
    """
    import onnx

    path = folder / "model.onnx"
    before = path.read_bytes()
    model = onnx.load_model_from_string(before)
    strip(model)
    after = model.SerializeToString(deterministic=True)
    if not same_answers(before, after):
        raise RuntimeError(f"{path}: without its metadata it gives other answers")
    digest = "sha256:" + hashlib.sha256(after).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["digest"] = digest
    evaluation = json.loads((folder / "evaluation.json").read_text())
    beside = folder / "importance.json"
    importance = json.loads(beside.read_text()) if beside.is_file() else None
    path.write_bytes(after)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (folder / "card.md").write_text(card(manifest, evaluation, importance))
    return digest


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, strip_release(Path(argument)))  # noqa: T201
