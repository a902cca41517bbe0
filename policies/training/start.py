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
from policies.league.lineage import MOST, lineage
from policies.league.players import folder_of, released
from policies.training.card import trained_on

MOST_BYTES = 16 * 2**20
"""Of each file, as serving has it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins as: with the weights of a release, and with what those had seen."""

    release: str
    """Its name, by its manifest."""
    digest: str
    """Of its model: another content is another run."""
    recipe: Mapping[str, Any]
    """What the release was trained by: this run's policy has seen that, too."""
    log: Mapping[str, Any] | None = None
    """The log that it learned from, where it learned from one."""
    model: bytes | None = field(default=None, repr=False)
    """model.onnx. None where a manifest tells of the run: then it can be told of, not trained."""
    shape: Mapping[str, int | bool] | None = None
    """Width, layers and `centred` of its network."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        said = {"release": self.release, "digest": self.digest, "recipe": self.recipe}
        return said if self.log is None else {**said, "log": self.log}

    def check(self, settings: Any) -> None:
        """ValueError where these settings are of a network of another shape."""
        asked = {name: getattr(settings, name) for name in self.shape or ()}
        if self.shape is not None and asked != self.shape:
            raise ValueError(
                f"start: {self.release} has {_yaml(self.shape)}, and the recipe asks for "
                f"{_yaml(asked)}"
            )


def told(document: Mapping[str, Any]) -> Start:
    """What a manifest says of a start. ValueError where it says too little."""
    try:
        name, digest = str(document["release"]), str(document["digest"])
        return Start(name, digest, dict(document["recipe"]), document.get("log"))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"start: wanted a release with its digest, not {document!r}") from error


def at_hand(given: Any, folder: Path, base: str) -> Start:
    """The installed policy of this name, or the release in a folder, looked for from `folder` on.
    ValueError where there is none, or none that a run on this base can begin as."""
    if not isinstance(given, str) or not given:
        raise ValueError(f"start: wanted an installed policy or a folder, got {given!r}")
    place = _place(given, folder)
    try:
        manifest = json.loads(_read(place / "manifest.json"))
        model = _read(place / "model.onnx")
        problem = _problem(manifest, model, base)
    except OSError as error:
        raise ValueError(f"start: {given}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"start: {place / 'manifest.json'} is not that of a release of this version: {error!r}"
        ) from error
    if problem:
        raise ValueError(f"start: {given} {problem}")
    from policies.agents.network import Actor  # torch
    from policies.training.read_back import network_of

    actor = network_of(model, BOUND, str(place / "model.onnx")).actor
    if not isinstance(actor, Actor):
        raise ValueError(
            f"start: {given} was trained by {manifest['recipe'].get('algorithm')}, whose network "
            "is another than that of those who can begin as a release"
        )
    run = next(lineage(manifest))
    return Start(str(manifest["name"]), manifest["digest"], run.recipe, run.log, model, actor.shape)


def _place(given: str, folder: Path) -> Path:
    here = folder / given
    try:
        installed = folder_of(released(given))
    except PolicyLoadError:
        if not here.is_dir():
            raise ValueError(
                f"start: {given} is neither an installed policy nor a folder, {here}"
            ) from None
        return here
    if here.is_dir():
        raise ValueError(f"start: {given} is an installed policy, and a folder: write ./{given}")
    return installed


def _read(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES} bytes")
    return path.read_bytes()


def _problem(manifest: Mapping[str, Any], model: bytes, base: str) -> str:
    """Why nothing can begin as this release, or nothing. Raises where it says too little, also for
    the card of what would come out."""
    from policies.training.export import FORMAT  # torch

    digest = "sha256:" + hashlib.sha256(model).hexdigest()
    if manifest["format"] != FORMAT:
        return f"has the format {manifest['format']!r}, and this version of Weir reads {FORMAT}"
    if manifest["digest"] != digest:
        return f"has a model with the digest {digest}, and its manifest names another"
    if manifest["base"] != base:
        return f"corrects {manifest['base']}, and the recipe has the base {base}"
    if manifest["features"] != list(FEATURES):
        return "was trained with other features than this version of Weir has"
    if manifest["bound"] != BOUND:
        return f"is bounded by {manifest['bound']}, and what is trained here by {BOUND}"
    if len(list(trained_on(manifest))) >= MOST:
        return f"is the last of {MOST} that each began as the one before: train from scratch"
    return ""


def _yaml(shape: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in shape.items()).lower() + "}"
