"""The release that a run begins as, where it does not begin with a network that knows nothing."""

# ruff: noqa: ANN401 - YAML and JSON give anything
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.errors import PolicyLoadError
from controlplane.model.features import FEATURES
from policies.env.episodes import BOUND
from policies.league.players import folder_of, released

MOST_BYTES = 16 * 2**20
"""Of each file, as serving has it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins as: with the weights of a release, and with what those had seen."""

    release: str
    """As the recipe names it: a policy that is installed, or the folder of a release."""
    digest: str
    """Of its model: another content is another run."""
    recipe: Mapping[str, Any]
    """What the release was trained by, as its manifest says: this run's policy has seen that,
    too."""
    log: Mapping[str, Any] | None = None
    """The log that it learned from, where it learned from one."""
    model: bytes = field(default=b"", repr=False)
    """model.onnx. None where a manifest tells of the run and the release is not at hand: then it
    can be told of, and not be trained."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        said = {"release": self.release, "digest": self.digest, "recipe": self.recipe}
        return said if self.log is None else {**said, "log": self.log}


def start(given: Any, folder: Path, base: str) -> Start:
    """From the name of an installed policy, the path of a release from `folder` on, or what a
    manifest has of one. ValueError where it is none, or not one that this base can begin as."""
    if isinstance(given, Mapping):
        try:
            said, digest = str(given["release"]), str(given["digest"])
            return Start(said, digest, dict(given["recipe"]), given.get("log"))
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"start: wanted a release with its digest, not {given!r}") from error
    if not isinstance(given, str) or not given:
        raise ValueError(f"start: wanted an installed policy or a folder, got {given!r}")
    try:
        place = folder / given if (folder / given).is_dir() else folder_of(released(given))
        manifest = json.loads(_read(place / "manifest.json"))
        model = _read(place / "model.onnx")
        problem = _problem(manifest, model, base)
    except (OSError, RecursionError, PolicyLoadError) as error:
        raise ValueError(f"start: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"start: {place / 'manifest.json'} is that of no release") from error
    if problem:
        raise ValueError(f"start: {given} {problem}")
    log = manifest.get("training", {}).get("log")
    return Start(given, manifest["digest"], manifest["recipe"], log, model)


def _read(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise PolicyLoadError(f"{path} is larger than {MOST_BYTES} bytes: not a policy of ours")
    return path.read_bytes()


def _problem(manifest: Mapping[str, Any], model: bytes, base: str) -> str:
    """Why nothing can begin as this release, or nothing."""
    digest = "sha256:" + hashlib.sha256(model).hexdigest()
    if manifest["digest"] != digest:
        return f"has a model with the digest {digest}, and its manifest names another"
    if manifest["base"] != base:
        return f"corrects {manifest['base']}, and the recipe has the base {base}"
    if manifest["features"] != list(FEATURES):
        return "was trained with other features than this version of Weir has"
    if manifest["bound"] != BOUND:
        return f"is bounded by {manifest['bound']}, and what is trained here by {BOUND}"
    if not isinstance(manifest["recipe"], Mapping):
        return "has no recipe in its manifest"
    return ""
