"""What a release was trained by: its own recipe, and those of the releases that it began as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Made:
    """One run."""

    recipe: Mapping[str, Any]
    log: Mapping[str, Any] | None
    """What it learned from instead, where that was a log."""
    began_as: Mapping[str, Any] | None
    """The release, with name and digest, that made the next of the lineage."""


def lineage(manifest: Mapping[str, Any]) -> Iterator[Made]:
    """The runs of a manifest, the last first; LookupError, TypeError or AttributeError where it
    does not tell them."""
    recipe, log = manifest["recipe"], manifest.get("training", {}).get("log")
    while True:
        began_as = recipe.get("start")
        yield Made(recipe, log, began_as)
        if began_as is None:
            return
        recipe, log = began_as["recipe"], began_as.get("log")
