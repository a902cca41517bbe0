"""How sure a mean is whose values come in clusters: the bootstrap.

The values are log ratios of two players on the same case and seed (paired). Cases of one service
are alike, so whole services are drawn (cluster bootstrap: C. A. Field, A. H. Welsh, "Bootstrapping
clustered data", JRSS B 69, 2007), and inside of their family (strata), since families are chosen
by us and not by chance. A percentile interval is too narrow for few clusters; so its levels are
spread until, for normal values, it is Student's: the expanded percentile interval of
T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69,
2015.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 4_000
SEED = 11


def intervals(
    values: Floats,
    clusters: Sequence[str],
    strata: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    expanded: bool = True,
) -> Floats:
    """(k, 3) mean, lower and upper end of each column of (n, k) values.

    All columns meet the same resamples. A stratum with a single cluster says nothing about how
    much clusters differ, and joins the other such ones. The ends are NaN where there is but one
    cluster in all. `expanded` False: the plain percentile interval.
    """
    index, stratum = _design(clusters, strata)
    count = np.bincount(index).astype(np.float64)
    sums = np.stack([np.bincount(index, column) for column in values.T], axis=1)
    mean = values.mean(axis=0)
    if len(count) < 2:
        return np.stack([mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)], axis=1)
    drawn = _drawn(stratum, resamples)
    means = (drawn @ sums) / (drawn @ count)[:, None]
    below = np.full(len(mean), (1.0 - LEVEL) / 2.0)
    if expanded:
        below = _expanded(sums - mean * count[:, None], stratum)
    ends = [np.quantile(means[:, k], [p, 1.0 - p]) for k, p in enumerate(below.tolist())]
    return np.column_stack([mean, np.array(ends)])


def _design(
    clusters: Sequence[str], strata: Sequence[str]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(n,) cluster of each value, and (clusters,) stratum of each, with no stratum of one if
    there are two clusters or more."""
    _, first, index = np.unique(np.array(clusters), return_index=True, return_inverse=True)
    _, stratum = np.unique(np.array(strata)[first], return_inverse=True)
    size = np.bincount(stratum)
    alone = size[stratum] == 1
    if alone.sum() == 1 and len(size) > 1:  # nobody to join but the smallest of the others
        others = np.where(size > 1, size, np.iinfo(np.intp).max)
        stratum[alone] = int(others.argmin())
    elif alone.any():
        stratum[alone] = stratum[alone][0]
    return index, np.unique(stratum, return_inverse=True)[1]


def _drawn(stratum: NDArray[np.intp], resamples: int) -> Floats:
    """(resamples, clusters) how often each cluster is drawn: in each stratum as many as it has."""
    random = np.random.default_rng(SEED)
    drawn = np.empty((resamples, len(stratum)))
    for one in range(int(stratum.max()) + 1):
        here = np.flatnonzero(stratum == one)
        drawn[:, here] = random.multinomial(
            len(here), np.full(len(here), 1.0 / len(here)), resamples
        )
    return drawn


def _expanded(influence: Floats, stratum: NDArray[np.intp]) -> Floats:
    """(k,) the level of the lower end: Phi(-t s / s*), with s* what resampling has of s.

    In a stratum of m clusters the bootstrap has (m - 1) / m of the variance.
    """
    from scipy.stats import norm, t  # takes half a second to import

    size = np.bincount(stratum)
    parts = [influence[stratum == one] for one in range(len(size))]
    biased = np.array([((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in parts])
    unbiased = biased * (size / np.maximum(size - 1, 1))[:, None]
    known = biased.sum(axis=0) > 0.0
    ratio = np.sqrt(
        np.divide(unbiased.sum(axis=0), biased.sum(axis=0), out=np.ones(len(known)), where=known)
    )
    quantile = t.ppf((1.0 + LEVEL) / 2.0, len(stratum) - len(size))
    return np.asarray(norm.cdf(-quantile * ratio), np.float64)
