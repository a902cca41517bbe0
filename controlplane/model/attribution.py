"""Why a model answered so: what it answered, shared out among what it saw.

Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks",
ICML 2017): the effect of a feature is the integral of the derivative of the answer in its
direction, along the straight line from a baseline to what was seen. The effects sum to the
difference of the answers at both ends (completeness), what makes no difference gets nothing, and
two models that answer alike are explained alike. The model is only asked, never looked into.

Pure, numpy only. Tables are those of `features`: groups x features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.errors import NotExplainableError
from controlplane.model.observation import Floats

Table = NDArray[np.float32]
Answers = Callable[[Table], NDArray[np.floating[Any]]]
"""(b, g, features) tables to (b, g) answers."""

POINTS = (8, 16, 32, 64, 128)
"""Of the path. The next number is tried while the effects do not sum to the answer."""
CLOSE = 1e-3
"""How far they may be from it: a thousandth of a share."""
MOST_CELLS = 2**18
"""Groups, over all tables, that one explanation may ask about: a tenth of a second."""
TOGETHER = 2**15
"""Groups of one batch: 4 MB of features."""
_STEP = 2.0**-8
"""Of the derivatives, as a part of the path. Answers have 24 bits, the step takes 8 of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What each feature did to the answer for each group."""

    effects: Floats
    """(g, features) summed over the groups whose feature it is: they are relative to one another,
    so that none of them differs alone."""
    answer: Floats
    """(g,) what is explained: the answer, minus the answer to the baseline."""
    seen: Table
    """(g, features)"""
    baseline: Table
    """(g, features)"""
    points: int
    """Of the path, that were used."""
    groups: tuple[str, ...] = field(default=())
    """(g,) their names, where they have some."""

    @property
    def unexplained(self) -> Floats:
        """(g,) what the effects do not sum to: the error of the integral."""
        return np.asarray(self.answer - self.effects.sum(axis=1), np.float64)


def alike(table: Table) -> Table:
    """The baseline: the same service, if its groups did not differ.

    Each feature is at its mean over the groups. A network that shares its weights between groups
    then answers the same for all of them, which moves no share: the base acts.

    >>> alike(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)).tolist()
    [[2.0, 5.0], [2.0, 5.0]]
    """
    mean = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.where(np.ptp(table, axis=0) > 0.0, np.broadcast_to(mean, table.shape), table)


def integrated_gradients(answers: Answers, seen: Table, baseline: Table) -> Attribution:
    """Share out the answer to `seen`, less that to `baseline`, among the features.

    Derivatives are central differences, the integral is a Gauss and Legendre sum. Raises
    `NotExplainableError` where that would be more than `MOST_CELLS`, or the answers are no numbers.
    """
    groups = len(seen)
    differs = np.flatnonzero(np.abs(seen - baseline).max(axis=0))
    first, last = answers(np.stack([baseline, seen]))
    answer = np.asarray(last - first, np.float64)
    if not np.isfinite(answer).all():
        raise NotExplainableError("the model gave no numbers")
    effects, used = np.zeros(seen.shape), 0
    for points in POINTS if len(differs) else ():
        if 2 * points * len(differs) * groups > MOST_CELLS:
            break
        effects, used = _effects(answers, seen, baseline, differs, points), points
        if np.abs(answer - effects.sum(axis=1)).max() <= CLOSE:
            break
    if len(differs) and not used:
        raise NotExplainableError(
            f"{groups} groups are too many to share out: {2 * POINTS[0] * len(differs) * groups} "
            f"answers, at most {MOST_CELLS}"
        )
    return Attribution(effects, answer, seen, baseline, used)


def _effects(
    answers: Answers, seen: Table, baseline: Table, differs: NDArray[np.intp], points: int
) -> Floats:
    """(g, features) by so many points of the path."""
    at, weights = np.polynomial.legendre.leggauss(points)
    at, weights = (at + 1.0) / 2.0, weights / 2.0
    differences = np.concatenate(
        [answers(batch) for batch in _asked(seen, baseline, differs, at)], axis=0
    ).reshape(points, len(differs), 2, len(seen))
    slopes = (differences[:, :, 1] - differences[:, :, 0]) / (2.0 * _STEP)
    effects = np.zeros(seen.shape)
    effects[:, differs] = np.einsum("p,pfg->gf", weights, slopes)
    return effects


def _asked(seen: Table, baseline: Table, differs: NDArray[np.intp], at: Floats) -> Iterator[Table]:
    """The tables of each point of the path, a step back and a step on in each direction."""
    way = (seen - baseline).astype(np.float64)
    steps = np.zeros((len(differs), 2, *seen.shape))
    for row, feature in zip(steps, differs.tolist(), strict=True):
        row[0, :, feature] = -_STEP * way[:, feature]
        row[1, :, feature] = _STEP * way[:, feature]
    steps = steps.reshape(-1, *seen.shape)
    size = max(1, TOGETHER // len(seen))
    for where in at.tolist():
        here = baseline + where * way
        for start in range(0, len(steps), size):
            yield (here + steps[start : start + size]).astype(np.float32)
