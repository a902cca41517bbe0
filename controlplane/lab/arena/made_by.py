"""Which code and which release played a heat, so that no table mixes them unsaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from controlplane.checkout import commit, short
from controlplane.decide.learned import released
from controlplane.decide.manifest import Release
from controlplane.lab.arena.contestants import CONTESTANTS
from controlplane.lab.arena.results import Heat, MadeBy

LEARNED = "learned"
"""The policy that is a release."""


def here(lanes: Iterable[str]) -> MadeBy:
    """The commit of this checkout, and the release that `weir serve` finds for these lanes.

    Raises `PolicyLoadError` where it would find none.
    """
    release = Release.read(released(LEARNED)).digest if _learned(lanes) else ""
    return MadeBy(commit(), release)


def of_lanes(now: MadeBy, lanes: Iterable[str]) -> MadeBy:
    """The same of a heat: a release that did not play in it has no part in it."""
    return now if _learned(lanes) else replace(now, release="")


def _learned(lanes: Iterable[str]) -> bool:
    return any(one.policy == LEARNED for name in lanes if (one := CONTESTANTS.get(name)))


def warnings(kept: Sequence[Heat], now: MadeBy) -> list[str]:
    """A line for each other commit or release by which heats were played, with their names."""
    others: dict[tuple[MadeBy, MadeBy], list[Heat]] = defaultdict(list)
    for one in kept:
        if one.made_by != (would_be := of_lanes(now, one.drawn)):
            others[one.made_by, would_be].append(one)
    return [
        f"warning: kept heats were played by {_said(by)}, and now it is {_said(would_be)}: "
        f"{_named(heats)}"
        for (by, would_be), heats in others.items()
    ]


def _said(by: MadeBy) -> str:
    release = f" with release {by.release[:19]}" if by.release else ""
    return f"commit {short(by.commit) or 'unknown'}{release}"


def _named(heats: Sequence[Heat]) -> str:
    """Scenarios with their seeds: `sparse (seeds 1, 2), homogeneous (seed 1)`."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for one in heats:
        seeds[one.scenario].add(one.seed)
    return ", ".join(
        f"{name} (seed{'s' * (len(of) > 1)} {', '.join(map(str, sorted(of)))})"
        for name, of in seeds.items()
    )
