"""What a released policy says of itself, read with no trust.

A release is a folder with `model.onnx` and `manifest.json`. The manifest is believed only where it
agrees with this version of Weir and with the model beside it; whatever is wrong is said in words.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.errors import PolicyLoadError
from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective

FORMAT = 1
INPUT, OUTPUT = "features", "residual"
MOST_BYTES = 16 * 2**20
"""A policy of this kind has some ten kilobytes."""
MOST_BOUND = 2.0


@dataclass(frozen=True, slots=True)
class Release:
    """A release whose manifest holds: the model's bytes have the digest that it names."""

    folder: Path
    name: str
    base: str
    digest: str
    bound: float
    """No residual is larger than this."""
    actuations: tuple[str, ...]
    """`groups`, `endpoints`: what it was trained to act on."""
    model: bytes
    objective: Objective
    """What it was trained for."""

    @classmethod
    def read(cls, folder: Path) -> Release:
        """The release in a folder; raises `PolicyLoadError`."""
        manifest = _manifest(folder / "manifest.json")
        problem = _problem(manifest)
        if problem:
            raise PolicyLoadError(f"{folder / 'manifest.json'}: {problem}")
        model = _bytes(folder / "model.onnx")
        digest = "sha256:" + hashlib.sha256(model).hexdigest()
        if digest != manifest["digest"]:
            raise PolicyLoadError(
                f"{folder / 'model.onnx'} has the digest {digest}, but its manifest names "
                f"{manifest['digest']}: fetch the release again"
            )
        return cls(
            folder=folder,
            name=manifest["name"],
            base=manifest["base"],
            digest=digest,
            bound=float(manifest["bound"]),
            actuations=tuple(manifest["actuations"]),
            model=model,
            objective=_objective(manifest),
        )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PolicyLoadError(f"{path} is larger than {MOST_BYTES} bytes: not a policy of ours")
        return path.read_bytes()
    except OSError as error:
        raise PolicyLoadError(f"{path} cannot be read: {error.strerror}") from error


def _manifest(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise PolicyLoadError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise PolicyLoadError(f"{path}: wanted an object")
    return document


def _problem(manifest: dict[str, Any]) -> str:
    """What is wrong with it, or nothing."""
    if manifest.get("format") != FORMAT:
        return f"format {manifest.get('format')!r}, this version of Weir reads {FORMAT}"
    for field in ("name", "base", "digest"):
        if not isinstance(manifest.get(field), str) or not manifest[field]:
            return f"wanted a text for `{field}`"
    bound = manifest.get("bound")
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        return "wanted a number for `bound`"
    if not (math.isfinite(bound) and 0.0 < bound <= MOST_BOUND):
        return f"bound {bound} is not above 0 and at most {MOST_BOUND}"
    acts = manifest.get("actuations")
    if not isinstance(acts, list) or not acts or set(map(str, acts)) - {"groups", "endpoints"}:
        return "wanted `groups`, `endpoints` or both for `actuations`"
    try:
        _objective(manifest)
    except (TypeError, ValueError) as error:
        return f"`objective` is not one: {error}"
    return _wrong_features(manifest.get("features"))


def _objective(manifest: dict[str, Any]) -> Objective:
    """What it names; the first releases name none and were trained for the default."""
    return Objective(**manifest.get("objective", {}))


def _wrong_features(named: object) -> str:
    if named == list(FEATURES):
        return ""
    if not isinstance(named, list):
        return "wanted a list for `features`"
    strange = [str(one) for one in named if one not in FEATURES]
    missing = [one for one in FEATURES if one not in named]
    if strange or missing:
        return (
            f"it was trained on other features (unknown here: {', '.join(strange) or 'none'}; "
            f"missing there: {', '.join(missing) or 'none'}): train it again"
        )
    return "its features are in another order than those of this version: train it again"
