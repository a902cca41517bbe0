"""A million and more generated vectors before the guard; `make guard-million` runs it.

    python -m tests.properties.guard_million --vectors 1000000 --jobs 2 --seed 1

Prints how many it checked, and exits with 1 and the seed of the life in which a promise broke.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import sys
import time

from tests.properties.guard_lives import live

TICKS = 50


def lives(first: int, count: int) -> int:
    """Check this many lives, from this seed on."""
    for seed in range(first, first + count):
        live(seed, TICKS)
    return count * TICKS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chunk = 100
    chunks = -(-options.vectors // (chunk * TICKS))
    begun, done = time.monotonic(), 0
    firsts = [options.seed * 10_000_000 + i * chunk for i in range(chunks)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        for count in pool.map(lives, firsts, [chunk] * chunks):
            done += count
            if sys.stderr.isatty():
                print(f"\r{done:,} vectors", end="", file=sys.stderr)
    took_s = time.monotonic() - begun
    print(f"{done:,} generated vectors, every promise kept, in {took_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
