"""Regions of simulated services as agents: each corrects the split of its own requests.

An agent is a region; its action moves, by a bounded residual on the logarithmic scale, which part
of its requests each zone gets, from what `leastTime` decides (`policies.env.regional`). All of a
team are rewarded with how much better the requests of all regions fared than beside it under
`leastTime` alone, on the same case and seed.

An agent sees a row for each zone, in the columns of `FEATURES` that have a meaning between zones;
the others are 0. What is measured is what its own proxies saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.model.features import CUT, FEATURES
from controlplane.model.folding import CAPACITY, DEMAND, DEMAND_SLOW, ERRORS, LATENCY, SERVICE
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from policies.env.draw import Draw
from policies.env.episodes import BOUND, GROUPS, Episodes, Seeded, Table
from policies.env.goals import Felt, Promised
from policies.env.paired import advantage
from policies.env.regional import NEXT_TO_NOTHING, Regional
from policies.env.stages import Stages
from policies.simulator import Outcome

FEW = 1e-3
"""Added to relative rates before taking logarithms: a part of nothing is not infinitely small."""


def regional_draw(families: Mapping[str, float] | None = None) -> Draw:
    """Services in regions. Load as where a split between regions is of use."""
    return Draw(
        families=families or {"two_regions": 1.0, "three_regions": 1.0, "slow_region": 1.0},
        endpoints=(8, 12, 16),
        proxies=(8, 16, 32),
        load=(0.45, 0.9),
        orca=0.0,
        sampling=(1.0,),
    )


@dataclass(frozen=True, slots=True)
class SimulatedRegions:
    """A world of teams of `agents` regions each. Slots are the regions of a team, then the next's.

    Where a case has fewer regions than `agents`, the last agents see nothing and do nothing.
    """

    draw: Draw = field(default_factory=regional_draw)
    agents: int = 3
    objective: Objective = field(default_factory=Objective)
    discount: float = 1.0
    """The learner's, which a potential of the objective has to know."""

    @property
    def steps(self) -> int:
        """Of an episode."""
        return self.draw.steps

    def episodes(self, slots: int, seed: int, copies: int = 1) -> Episodes:
        """New ones; `slots` is a multiple of the agents."""
        return RegionEpisodes(self, slots, seed, copies)

    def tasks(self) -> Sequence[SimulatedRegions]:
        """A family each."""
        return [replace(self, draw=draw) for draw in self.draw.by_family()]


class RegionEpisodes(Seeded):
    """`Episodes` of teams of regions, each team beside `leastTime` on the same requests."""

    def __init__(self, world: SimulatedRegions, slots: int, seed: int, copies: int = 1) -> None:
        if slots % (world.agents * copies):
            raise ValueError(f"{slots} slots are not {copies} copies of teams of {world.agents}")
        if not 0 < world.agents <= GROUPS:
            raise ValueError(f"wanted 1 to {GROUPS} regions, got {world.agents}")
        self.slots, self.teams = slots, slots // world.agents
        self._world, self._copies = world, copies
        self._stages = Stages.installed()
        super().__init__(seed)
        self._ours: list[Regional] = []
        self._theirs: list[Regional] = []
        self._shares: list[Floats] = []
        self._promised = Promised(world.objective, world.discount)
        self.outcomes: list[tuple[Outcome, Outcome]] = []
        """(ours, that of `leastTime`) of each team since its episode began."""

    def reset(self) -> Table:
        """(slots, GROUPS, features) at the first tick of new episodes."""
        draw = self._world.draw
        drawn = [draw.case(self.random) for _ in range(self.teams // self._copies)]
        for case, _ in drawn:
            if len(case.regions) > self._world.agents:
                raise ValueError(f"{case.name} has {len(case.regions)} regions, too many agents")
        self._theirs = [Regional(self._stages, *one) for one in drawn]
        self._ours = [Regional(self._stages, *one) for one in drawn for _ in range(self._copies)]
        self._shares = [one.shares for one in self._ours]
        pairs = self._look()
        self._promised.begin([ours for ours, _ in pairs])
        self.outcomes = [(ours.outcome, theirs.outcome) for ours, theirs in pairs]
        return self._table()

    def step(self, actions: NDArray[np.floating[Any]]) -> tuple[Table, Table, bool]:
        """(slots, GROUPS) actions in -1..1; then features, (slots,) rewards, whether all ended."""
        teams = np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        teams = teams.reshape(self.teams, self._world.agents, GROUPS)
        for i, (ours, action) in enumerate(zip(self._ours, teams, strict=True)):
            n = len(ours.zones)
            self._shares[i] = ours.act(BOUND * action[:n, :n])
        for theirs in self._theirs:
            theirs.act()
        pairs = self._look()
        self.outcomes = [
            (ours + more.outcome, theirs + their_more.outcome)
            for (ours, theirs), (more, their_more) in zip(self.outcomes, pairs, strict=True)
        ]
        shaping = self._promised.shaping([ours for ours, _ in pairs])
        rewards = [
            advantage(ours, theirs, base.mean_s, self._world.objective) + more
            for (ours, theirs), (_, base), more in zip(pairs, self.outcomes, shaping, strict=True)
        ]
        ended = self._ours[0].now_s >= self._world.draw.duration_s - 1e-9
        each = np.repeat(np.array(rewards, np.float32), self._world.agents)
        return self._table(), each, ended

    def ratios(self) -> Floats:
        """(slots,) mean latency of all requests over the same under `leastTime`."""
        ratios = [ours.mean_s / theirs.mean_s for ours, theirs in self.outcomes]
        return np.repeat(np.array(ratios), self._world.agents)

    def _look(self) -> list[tuple[Felt, Felt]]:
        """(ours, that of `leastTime`) of each team since the last tick."""
        for one in (*self._ours, *self._theirs):
            one.look()
        theirs = [one.felt() for one in self._theirs]
        return [(ours.felt(), theirs[i // self._copies]) for i, ours in enumerate(self._ours)]

    def _table(self) -> Table:
        agents = self._world.agents
        table = np.zeros((self.teams, agents, GROUPS, len(FEATURES)), np.float32)
        for i, (ours, shares) in enumerate(zip(self._ours, self._shares, strict=True)):
            seen = between_features(ours, shares)
            table[i, : seen.shape[0], : seen.shape[1]] = seen
        return table.reshape(self.slots, GROUPS, len(FEATURES))


def between_features(regional: Regional, shares: Floats) -> Table:
    """(regions, zones, features) what each region sees of each zone.

    `shares` (regions, zones) are in force; what `leastTime` wants now is asked of `regional`.
    """
    known, zones = regional.known, regional.zones
    table, shared = known.estimate.table, known.estimate.shared
    look = regional.seen.for_endpoints(known.estimate.endpoints)
    of = np.array([zones.index(one.where) for one in regional.endpoints], np.intp)
    home = [known.places.index(zone) for zone in zones]
    way_s = known.ways.seconds[np.ix_(home, home)]
    base = np.maximum(regional.shares, NEXT_TO_NOTHING)
    asked = np.array([look.by_place.get(zone, 0.0) for zone in zones])
    inside = (of[:, None] == np.arange(len(zones))).astype(np.float64)
    size = inside.sum(axis=0)

    def mean(per_endpoint: Floats, weight: Floats | float = 1.0) -> Floats:
        """(..., zones) over the endpoints that are known."""
        there = np.isfinite(per_endpoint) * weight
        return np.asarray((np.nan_to_num(per_endpoint) * there) @ inside / (there @ inside))

    seen = np.stack([look.latency_by_place[zone] for zone in zones])  # (regions, 2, endpoints)
    with np.errstate(all="ignore"):
        capacity = np.nan_to_num(table[CAPACITY]) @ inside
        part = capacity / capacity.sum()
        took = mean(seen[:, 0], seen[:, 1])
        samples = np.nan_to_num(seen[:, 1]) @ inside
        took_all = (np.nan_to_num(took) * samples).sum(axis=1) / samples.sum(axis=1)
        rate = np.nan_to_num(look.rate_rps) @ inside
        load, load_all = rate / capacity, rate.sum() / capacity.sum()
        service_s = mean(np.exp(table[SERVICE]))
        idle = way_s + service_s
        short, _, long = (mean(row) for row in table[LATENCY])
        errors = mean(table[ERRORS])
        demand, slow = shared[DEMAND], shared[DEMAND_SLOW]
        columns: dict[str, Any] = {
            # A zone beside the others, as the region sees it.
            "latency": np.log(took / took_all[:, None]),
            "latency_p99": np.log(mean(look.latency_p99_s))
            - np.log(mean(look.latency_p99_s)).mean(),
            "latency_short": short - short.mean(),
            "latency_middle": np.log(idle / idle.min(axis=1, keepdims=True)),  # the way
            "latency_long": long - long.mean(),
            "latency_trend": short - long,
            "utilisation": load - load_all,
            "capacity": np.log(part / (size / size.sum())),
            "capacity_share": np.log(part),
            "errors": 5.0 * (errors - errors.mean()),
            "base_over_capacity": np.log(base / part),
            "current_over_base": np.log(np.maximum(shares, NEXT_TO_NOTHING) / base),
            "throughput": np.log(base + FEW),  # what the base wants
            "size": size / size.sum(),
            # The same for all zones.
            "waiting": np.log(look_all(took_all, samples) / service_s.mean()),
            "load": load_all,
            "rise": np.log(demand / slow),
            "service_errors": 5.0 * errors.mean(),
            "traffic_per_proxy": np.log(asked / asked.sum() + FEW)[:, None],
            "groups": np.log(len(zones)),
            "present": 1.0,
        }
    rows = np.zeros((len(zones), len(zones), len(FEATURES)))
    for name, column in columns.items():
        rows[..., FEATURES.index(name)] = column
    return np.clip(np.nan_to_num(rows, nan=0.0, posinf=CUT, neginf=-CUT), -CUT, CUT).astype(
        np.float32
    )


def look_all(took: Floats, samples: Floats) -> float:
    """The mean latency over all regions, each by the requests that it sampled."""
    weight = samples.sum(axis=1)
    return float((np.nan_to_num(took) * weight).sum() / weight.sum())
