"""A released model as the network that it was exported from: what explains it needs gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policies.agents.network import Actor, Bounded, Released
from policies.training.export import TOLERANCE, largest_difference


def read_back(path: Path, bound: float) -> Released:
    """The network in a `model.onnx` of ours, checked to answer as the file does.

    Raises `ValueError` where it is another network.
    """
    return network_of(path.read_bytes(), bound, str(path))


def network_of(model: bytes, bound: float, called: str) -> Released:
    """The same of the content of the file."""
    try:
        named = _tensors(model)
        for centred in (False, True):
            module: Released = Released(_actor(named, centred), bound).eval()
            if largest_difference(module, model) <= TOLERANCE:
                return module
    except Exception as error:  # what another network can fail with is no list
        raise ValueError(f"{called} is not a network of this version: {error!r}") from error
    raise ValueError(f"{called} is not a network of this version: it answers otherwise")


def _tensors(model: bytes) -> dict[str, Tensor]:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in graph.initializer):
        raise ValueError("its weights are in another file")
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:  # `own` and `head` are exported as x @ W^T + b, and W^T has no name
        if node.op_type == "Add" and node.input[1].endswith(".bias"):
            product = next(one for one in graph.node if node.input[0] in one.output)
            weight = tensors[product.input[1]].T
            tensors[node.input[1].removesuffix("bias") + "weight"] = weight
    return {
        name.removeprefix("actor."): torch.from_numpy(np.array(value))
        for name, value in tensors.items()
        if name.startswith("actor.")
    }


def _actor(named: dict[str, Tensor], centred: bool) -> Actor | Bounded:
    if named and all(name.startswith("actor.") for name in named):  # of those with a replay buffer
        inside = {name.removeprefix("actor."): value for name, value in named.items()}
        return Bounded(_actor(inside, centred))
    layers = sum(name.endswith("own.bias") for name in named)
    actor = Actor(len(named["body.layers.0.own.bias"]), layers, centred=centred)
    actor.load_state_dict(named)
    return actor
