"""What a run needs to go on, as one file: arrays, and JSON for the rest. Nothing is unpickled.

A tree of dictionaries, lists, tuples, numbers, text, numpy arrays and torch tensors goes in and the
same comes out, tensors on the CPU. The file is a `.npz` read with `allow_pickle=False`, so that
reading one from a stranger runs no code. It is written beside its place, flushed to the disk and
renamed: whenever the process or the machine stops, either the old one is there or the new one.
"""

# ruff: noqa: ANN401 - trees
from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from controlplane.errors import WeirError

_TREE = "tree"
"""The name of the array that holds the JSON; the others have numbers."""


def save(path: Path, tree: Any) -> None:
    """Put the tree there instead of what was there before."""
    arrays: dict[str, np.ndarray] = {}
    document = json.dumps(_written(tree, arrays))
    arrays[_TREE] = np.frombuffer(document.encode(), np.uint8)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename is to outlast a loss of power, too
    finally:
        os.close(folder)


def load(path: Path) -> Any:
    """The tree that was saved; WeirError where there is none that can be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as read:
            arrays = {name: read[name] for name in read.files}
        return _read(json.loads(arrays[_TREE].tobytes()), arrays)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise WeirError(f"{path} is no checkpoint that can be read: {error}") from error


def _written(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """JSON in which what JSON does not have is an object with one field that says what it is."""
    match tree:
        case None | bool() | int() | float() | str():
            return tree
        case list():
            return [_written(one, arrays) for one in tree]
        case tuple():
            return {"tuple": [_written(one, arrays) for one in tree]}
        case Mapping():
            return {"map": [[_key(k), _written(v, arrays)] for k, v in tree.items()]}
        case torch.Tensor():
            return {"tensor": _kept(tree.detach().cpu().numpy(), arrays)}
        case np.generic() | np.ndarray():
            return {"array": _kept(np.asarray(tree), arrays)}
        case _:
            raise TypeError(f"a checkpoint has no place for {type(tree).__name__}")


def _key(key: Any) -> Any:
    if not isinstance(key, str | int):
        raise TypeError(f"a checkpoint has no place for the key {key!r}")
    return key


def _kept(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    if array.dtype.hasobject:
        raise TypeError("a checkpoint has no place for arrays of objects")
    name = str(len(arrays))
    arrays[name] = array
    return name


def _read(document: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(document, list):
        return [_read(one, arrays) for one in document]
    if not isinstance(document, dict):
        return document
    ((kind, value),) = document.items()
    match kind:
        case "tuple":
            return tuple(_read(one, arrays) for one in value)
        case "map":
            return {key: _read(one, arrays) for key, one in value}
        case "tensor":
            return torch.from_numpy(arrays[value])
        case "array":
            return arrays[value]
        case _:
            raise ValueError(f"a {kind}")
