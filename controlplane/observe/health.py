"""Whether the Envoys that got a change first fail more requests than before, or than the others.

A `HealthVerdict` from what Envoys report. Requests that ended are counted for each Envoy from the
moment a stage is first looked at, in access logs (which also tell of requests that found no route,
no cluster or no endpoint) and in load reports (which count every request that reached an endpoint)
apart: either may find the stage bad. What is too much is measured by the rest of the fleet in the
same time, and by the same Envoys before: a backend that fails for everybody is no fault of the
change.

Bad is an excess that chance would give once in ten thousand looks at most, by Chernoff's bound for
the binomial tail: P(X >= k) <= exp(-n KL(k/n, p)) for k/n > p (Hoeffding 1963, theorem 1).

Not seen: Envoys that do not serve at all and whose clients go elsewhere fail nothing. A stage has
no verdict when one of its Envoys reported loads and fell silent, or when none was ever heard of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controlplane.model import Health, ProxyKey
from controlplane.observe.proxies import Ended, Heard, Proxies

CHANCE = 1e-4
"""How rarely a stage that is well may be found bad, in one look."""
MORE = 1.5
"""So many times the share of failures elsewhere is not yet an excess."""
SLACK = 0.005
"""Nor is this share of the requests."""
FEWEST = 3
"""Fewer failures than this are no verdict, whatever their share."""


@dataclass(slots=True)
class _Stage:
    since_s: float
    before: dict[ProxyKey, dict[str, Ended]]
    """What was counted when it was first looked at: by node, by source."""


class FleetHealth:
    """Asked about once a second while a stage is watched."""

    def __init__(
        self,
        proxies: Proxies,
        clock: Callable[[], float],
        fleet_of: Callable[[str], str],
        silent_s: float,
    ) -> None:
        """`fleet_of` maps a `node.cluster`; who says nothing for `silent_s` is silent."""
        self._proxies = proxies
        self._clock = clock
        self._fleet_of = fleet_of
        self._silent_s = silent_s
        self._stages: dict[str, _Stage] = {}

    async def __call__(self, fleet: str, nodes: Sequence[str], since_s: float) -> Health:
        """One look."""
        now_s = self._clock()
        fleet_now = [one for one in self._proxies if self._fleet_of(one.proxy.fleet) == fleet]
        stage = self._stages.get(fleet)
        if stage is None or stage.since_s != since_s:
            before = {one.proxy.key: dict(one.ended) for one in fleet_now}
            stage = self._stages[fleet] = _Stage(since_s, before)
        staged = frozenset(nodes)
        mine = [one for one in fleet_now if one.proxy.id in staged]
        if not mine or any(self._silent(one, now_s) for one in mine):
            return Health.UNKNOWN
        others = [one for one in fleet_now if one.proxy.id not in staged]
        sources = {source for one in mine for source in one.ended}
        bad = any(_bad(stage, mine, others, source) for source in sources)
        return Health.BAD if bad else Health.GOOD

    def _silent(self, one: Heard, now_s: float) -> bool:
        """Who sends no load reports may be idle."""
        return one.reported_at_s > -math.inf and one.at_s < now_s - self._silent_s


def _bad(stage: _Stage, mine: Iterable[Heard], others: Iterable[Heard], source: str) -> bool:
    now = _sum(_since(stage, one, source) for one in mine)
    elsewhere = _sum(_since(stage, one, source) for one in others)
    earlier = _sum(_before(stage, one, source) for one in mine)
    usual = max(elsewhere.share, earlier.share)
    return excess(now, MORE * usual + SLACK)


def excess(ended: Ended, usual: float) -> bool:
    """Whether more failed than chance explains where this share of requests fails.

    >>> excess(Ended(100, 9), 0.005), excess(Ended(100, 3), 0.005), excess(Ended(100, 100), 1.2)
    (True, False, False)
    """
    if ended.failed < FEWEST or ended.share <= usual or usual >= 1.0:
        return False
    share = ended.share
    divergence = share * math.log(share / usual)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - usual))
    return ended.requests * divergence > -math.log(CHANCE)


def _before(stage: _Stage, one: Heard, source: str) -> Ended:
    return stage.before.get(one.proxy.key, {}).get(source, Ended())


def _since(stage: _Stage, one: Heard, source: str) -> Ended:
    now, before = one.ended.get(source, Ended()), _before(stage, one, source)
    return Ended(now.requests - before.requests, now.failed - before.failed)


def _sum(parts: Iterable[Ended]) -> Ended:
    found = tuple(parts)
    return Ended(sum(one.requests for one in found), sum(one.failed for one in found))
