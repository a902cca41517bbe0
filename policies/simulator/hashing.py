"""The ring and the table that RING_HASH and MAGLEV look keys up in, made as Envoy makes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.simulator.compiled import entry
from policies.simulator.demand import hashed
from policies.simulator.state import Floats, Ints

Hashes = NDArray[np.uint64]
RING_MOST = 1 << 17
"""Entries that a ring may have (Envoy: 8 M); small weights would want more."""


def ring(hosts: Ints, shares: Floats, least: int) -> tuple[Hashes, Ints]:
    """(entries,) hashes in order, and the host of each: as many entries as its share says.

    Envoy's `ring_hash_lb.cc`: the smallest share gets a whole number of entries, and there are
    `least` entries or more.
    """
    smallest = float(shares.min())
    scale = min(np.ceil(smallest * least) / smallest, RING_MOST)
    ends = np.ceil(np.cumsum(shares) * scale - 1e-9).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    owner = np.repeat(hosts, counts)
    number = np.arange(len(owner)) - np.repeat(ends - counts, counts)
    at = hashed((owner.astype(np.uint64) << np.uint64(32)) + number.astype(np.uint64))
    order = np.argsort(at, kind="stable")
    return at[order], owner[order]


def maglev(hosts: Ints, shares: Floats, size: int) -> Ints:
    """(size,) the host of each entry. Eisenbud and others, 2016, section 3.4; weights as Envoy."""
    names = hashed(hosts.astype(np.uint64))
    offset = (names % np.uint64(size)).astype(np.int64)
    skip = (hashed(names) % np.uint64(size - 1)).astype(np.int64) + 1
    table = np.full(size, -1, np.int64)
    _fill(table, offset, skip, shares / shares.max(), np.zeros(len(hosts), np.int64))
    return hosts[table]


@entry
def _fill(table: Ints, offset: Ints, skip: Ints, weight: Floats, tried: Ints) -> None:
    """Hosts take turns, those of less weight not each time; each takes its next free entry."""
    size, filled, turn = len(table), 0, 0
    while filled < size:
        turn += 1
        for h in range(len(offset)):
            if np.floor(turn * weight[h]) == np.floor((turn - 1) * weight[h]):
                continue
            at = (offset[h] + skip[h] * tried[h]) % size
            while table[at] >= 0:
                tried[h] += 1
                at = (offset[h] + skip[h] * tried[h]) % size
            table[at] = h
            tried[h] += 1
            filled += 1
            if filled == size:
                return
