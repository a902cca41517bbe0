"""What a release was trained by: its own recipe, and those of the releases that it began as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 16
"""Runs of a lineage: each manifest holds the recipes of all before it."""


@dataclass(frozen=True, slots=True)
class Made:
    """One run."""

    recipe: Mapping[str, Any]
    log: Mapping[str, Any] | None
    """What it learned from instead, where that was a log."""
    began_as: Mapping[str, Any] | None
    """The release, with name and digest, that made the next of the lineage."""

    @property
    def drawn(self) -> list[Mapping[str, Any]]:
        """What was drawn from: the scenarios and those of the lessons. By a log nothing."""
        if self.log is not None:
            return []
        return [self.recipe["scenarios"], *self.recipe.get("curriculum", ())]


def lineage(manifest: Mapping[str, Any]) -> Iterator[Made]:
    """The runs of a manifest, the last first. LookupError, TypeError, AttributeError or ValueError
    where it does not tell them, or where there are more than `MOST`."""
    recipe, log = manifest["recipe"], manifest.get("training", {}).get("log")
    for _ in range(MOST):
        began_as = recipe.get("start")
        yield Made(recipe, log, began_as)
        if began_as is None:
            return
        recipe, log = began_as["recipe"], began_as.get("log")
    raise ValueError(f"it began as a release that began as another, more than {MOST} times")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a policy met in training, of what the league holds out."""

    families: frozenset[str]
    endpoints: frozenset[int]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Seen:
        """By the runs of its lineage; raises as `lineage` does."""
        drawn = [one for run in lineage(manifest) for one in run.drawn]
        odds = [each for one in drawn for each in (one.get("families") or {}).items()]
        sizes = [size for one in drawn for size in one.get("endpoints") or ()]
        return cls(frozenset(name for name, often in odds if often > 0.0), frozenset(sizes))
