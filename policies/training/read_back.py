"""A released model as the network that it was exported from: what explains it needs gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.agents.network import Actor, Released
from policies.training.export import TOLERANCE, largest_difference


def read_back(path: Path, bound: float) -> Released:
    """The network in a `model.onnx` of ours, checked to answer as the file does.

    Raises `ValueError` where it is another network.
    """
    return network(path.read_bytes(), bound, str(path))


def network(model: bytes, bound: float, called: str) -> Released:
    """The same of the content of the file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load_model_from_string(model).graph
    except DecodeError as error:
        raise ValueError(f"{called} is not ONNX: {error}") from error
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:  # `own` and `head` are exported as x @ W^T + b, and W^T has no name
        if node.op_type == "Add" and node.input[1].endswith(".bias"):
            product = next(one for one in graph.node if node.input[0] in one.output)
            weight = tensors[product.input[1]].T
            tensors[node.input[1].removesuffix("bias") + "weight"] = weight
    named = {
        name.removeprefix("actor."): torch.from_numpy(np.array(value))
        for name, value in tensors.items()
        if name.startswith("actor.")
    }
    for centred in (False, True):
        actor = _actor(named, centred)
        module: Released = Released(actor, bound).eval()
        if largest_difference(module, model) <= TOLERANCE:
            return module
    raise ValueError(f"{called} is not a network of this version")


def _actor(named: dict[str, Tensor], centred: bool) -> Any:  # noqa: ANN401 - torch has no types here
    layers = sum(name.endswith("own.bias") for name in named)
    try:
        actor = Actor(len(named["body.layers.0.own.bias"]), layers, centred=centred)
        actor.load_state_dict(named)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"not a network of this version: {error}") from error
    return actor
