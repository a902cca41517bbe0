"""From a trained actor to a release: model.onnx and manifest.json, checked."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from controlplane.model.features import FEATURES
from policies.agents.network import Released
from policies.env.episodes import BOUND
from policies.training.asked import INPUTS, random_services, session
from policies.training.recipe import Recipe
from policies.training.strip import strip

FORMAT = 1
TOLERANCE = 1e-5
"""Of a residual, 0.001 % of a share: what rounding in another order may come to. With the weights
of a TD3 that learned for long, torch and ONNX Runtime are each 1 to 2 millionths off what double
precision gives, and 2 from one another."""


def export(actor: nn.Module, path: Path, *, bound: float = BOUND) -> str:
    """Write the bounded actor as ONNX; the digest of the file. It answers as the original does."""
    module = Released(actor, bound).eval()
    example = torch.zeros(2, 3, len(FEATURES))
    services, groups = torch.export.Dim("services"), torch.export.Dim("groups")
    chatty = logging.getLogger("torch.onnx")
    before = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own exporter, about itself
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=["features"],
                output_names=["residual"],
                dynamic_shapes=({0: services, 1: groups},),
                external_data=False,
                verbose=False,
            )
    finally:
        chatty.setLevel(before)
    assert program is not None
    model = program.model_proto
    strip(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    difference = largest_difference(module, path.read_bytes())
    if not difference <= TOLERANCE:  # nor where there is no number
        raise RuntimeError(f"{path} differs from the trained policy by {difference:.1e}")
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def largest_difference(module: Released, model: bytes, inputs: int = INPUTS) -> float:
    """Between the exported model and the original, on so many random services of all sizes."""
    exported = session(model)
    worst = 0.0
    for table in random_services(inputs):
        with torch.no_grad():
            wanted = module(torch.from_numpy(table)).numpy()
        given = exported.run(["residual"], {"features": table})[0]
        worst = float(np.maximum(worst, np.abs(wanted - given).max()))  # NaN stays
    return worst


def manifest(
    recipe: Recipe,
    digest: str,
    commit: str,
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any],
) -> dict[str, Any]:
    """What serving checks, and what people want to know. `commit`: of the code that trained."""
    width = len(FEATURES)
    return {
        "format": FORMAT,
        "name": recipe.name,
        "base": recipe.base,
        "actuations": ["groups"],
        "inputs": [{"name": "features", "type": "float32", "shape": ["services", "groups", width]}],
        "outputs": [{"name": "residual", "type": "float32", "shape": ["services", "groups"]}],
        "features": list(FEATURES),
        "bound": BOUND,
        "objective": asdict(recipe.objective),
        "digest": digest,
        "commit": commit,
        "recipe": json.loads(json.dumps(recipe.document(), default=dict)),
        "training": dict(training),
        "evaluation": dict(evaluation),
    }
