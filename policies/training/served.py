"""A log of what was served, as something to learn from: decisions with what came of them.

The reward of a decision is in the next look at its service, by the objective of the recipe.
Decisions of a service that follow one another are cut into episodes of the length that the recipe
has. Services differ by what features do not tell, such as how long their requests take at all: the
mean return of each service over the log is taken off, which no decision changes.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from controlplane.decision_files import DecisionFiles
from controlplane.errors import WeirError
from controlplane.model.decisions import Outcome, Record
from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from policies.agents.meta_policy import returns_to_go
from policies.agents.offline import Log
from policies.env.episodes import BOUND
from policies.training.recipe import Recipe

LEAST, LEAST_EPISODES = 400, 20
"""Decisions that explored, and episodes: fewer are refused."""
LATE = 1.5
"""Intervals until the next decision, at most: what comes later is not what this one led to."""
DENSITY_WITHIN = 1e-6
"""How far a log density may be from that of its action."""
TOLD = ("latency_mean", "errors")
"""The goals that an outcome tells of."""


@dataclass(frozen=True, slots=True)
class Served:
    """A log, and what is to be said of it."""

    log: Log
    said: Mapping[str, Any]


@dataclass(slots=True)
class _Row:
    """A decision; `reward` when it is known."""

    service: str
    table: NDArray[np.float32]
    action: Floats
    mean: Floats
    deviation: float
    log_density: float
    """NaN where it is not to be learned from."""
    reward: float = math.nan


@dataclass(slots=True)
class _Run:
    """Decisions about one service that followed one another."""

    last: Record
    """Whose outcome is not known yet."""
    rows: list[_Row] = field(default_factory=list)


def served(folder: Path, recipe: Recipe) -> Served:
    """The newest `recipe.steps` decisions of a folder. WeirError where nothing can be learned."""
    _check(recipe.objective)
    files = DecisionFiles(folder)
    reading = _Reading(recipe)
    for record in files.records():
        reading.add(record)
    reading.end()
    log = _log(reading.episodes, recipe.settings.discount)
    counts = reading.counts
    _check_enough(folder, 0 if log is None else len(log.returns), len(reading.episodes), counts)
    assert log is not None
    said = {
        "digest": files.digest,
        "decisions": len(log.returns),
        "episodes": len(torch.unique(log.episode)),
        "services": len({row.service for rows in reading.episodes for row in rows}),
        "torn": files.torn,
        "left_out": dict(sorted(reading.counts.items())),
    }
    return Served(log, said)


def learned_from(log: Mapping[str, Any], losses: Mapping[str, float]) -> str:
    """Two lines for people: what the log was, and what it says of what was learned."""
    left_out = ", ".join(f"{count} {why}" for why, count in log["left_out"].items())
    better = losses["off_policy_least"] > 0.0
    return (
        f"learned from {log['decisions']} decisions about {log['services']} services"
        + (f"; left out: {left_out}" if left_out else "")
        + f"\nbeyond what was logged: {losses['off_policy_value']:+.3f} standard deviations, at "
        f"least {losses['off_policy_least']:+.3f} (95 %), by an effective sample of "
        f"{losses['effective_sample_size']:.0f} of {losses['sample_size']:.0f} decisions"
        + ("" if better else "; not shown to be better, so the base is released unchanged")
    )


class _Reading:
    """Records, in the order of time, to episodes. Holds about as many decisions as `steps`."""

    def __init__(self, recipe: Recipe) -> None:
        self._objective = recipe.objective
        self._most, self._steps = recipe.steps, recipe.world.steps
        self._runs: dict[str, _Run] = {}
        self._under_way = self._kept = 0
        self.episodes: deque[list[_Row]] = deque()
        self.counts: Counter[str] = Counter()
        """Decisions that are left out, by why."""

    def add(self, record: Record) -> None:
        """The next one."""
        run = self._runs.get(record.service)
        if run is not None:
            self._follow(run, record)
        self._runs[record.service] = _Run(record, [] if run is None else run.rows)
        if self._under_way > self._most:
            self.end()

    def end(self) -> None:
        """What is under way is cut off here; what the last decisions led to is not known."""
        for run in self._runs.values():
            self._cut(run)
            self.counts["without an outcome"] += 1
        self._runs.clear()

    def _follow(self, run: _Run, record: Record) -> None:
        """What the last one led to is told by this one."""
        last = run.last
        seen = record.seen_s is not None and record.seen_s > last.decided_s
        late = not 0.0 < record.decided_s - last.decided_s <= LATE * last.interval_s
        reward = _reward(record.outcome, self._objective)
        if late or not seen or reward is None:
            self.counts["without an outcome"] += 1
            self._cut(run)
            return
        row = _row(last)
        row.reward = reward
        if math.isnan(row.log_density):
            self.counts[_why_not(last)] += 1
        run.rows.append(row)
        self._under_way += 1
        if len(run.rows) >= self._steps:
            self._cut(run)

    def _cut(self, run: _Run) -> None:
        """An episode is over."""
        rows, run.rows = run.rows, []
        self._under_way -= len(rows)
        if not rows:
            return
        self.episodes.append(rows)
        self._kept += len(rows)
        while self._kept > self._most and len(self.episodes) > 1:
            oldest = self.episodes.popleft()
            self._kept -= len(oldest)
            self.counts["older"] += len(oldest)


def _reward(outcome: Outcome, objective: Objective) -> float | None:
    """What the look was worth; None where it does not tell."""
    if outcome.latency_s is None or outcome.error_ratio is None or not outcome.latency_s > 0.0:
        return None
    return float(
        -objective.latency_mean * math.log(outcome.latency_s)
        - objective.errors * outcome.error_ratio
    )


def _row(record: Record) -> _Row:
    """In actions, of which 1 is `BOUND` of a residual."""
    mean, action = np.array(record.mean) / BOUND, np.array(record.action) / BOUND
    density = math.nan
    if not _why_not(record):
        assert record.log_density is not None
        density = record.log_density + len(mean) * math.log(BOUND)
        off = (action - mean) / (record.deviation / BOUND)
        scale = math.log(record.deviation / BOUND) + 0.5 * math.log(2.0 * math.pi)
        truth = -0.5 * float(off @ off) - len(mean) * scale
        if not abs(density - truth) < DENSITY_WITHIN * max(1.0, abs(truth)):
            raise WeirError(
                f"a decision about {record.service} at {record.at:.3f} has a propensity that is "
                "not that of its action: nothing is learned from this log"
            )
    table = np.frombuffer(record.table, "<f4").reshape(len(mean), len(FEATURES))
    if not np.isfinite(table).all():
        raise WeirError(f"a decision about {record.service} at {record.at:.3f} saw no numbers")
    return _Row(record.service, table, action, mean, record.deviation / BOUND, density)


def _why_not(record: Record) -> str:
    """Why nothing can be learned from what this one did, if so."""
    if record.log_density is None or not record.deviation > 0.0:
        return "without exploration"
    if record.bound != BOUND:
        return f"with another bound than {BOUND}"
    return "frozen" if "frozen" in record.reasons else ""


def _log(episodes: Iterable[Sequence[_Row]], discount: float) -> Log | None:
    """One tensor each; None where nothing was explored."""
    rows, returns, numbers = [], [], []
    for number, episode in enumerate(episodes):
        rewards = np.array([row.reward for row in episode])[:, None]
        to_go = returns_to_go(rewards, discount)[:, 0]
        for row, one in zip(episode, to_go.tolist(), strict=True):
            if not math.isnan(row.log_density):
                rows.append(row)
                returns.append(one)
                numbers.append(number)
    if not rows:
        return None
    groups = max(len(row.mean) for row in rows)
    made = {
        "table": _padded([row.table for row in rows], groups),
        "actions": _padded([row.action for row in rows], groups),
        "returns": _float(_beside_their_service(np.array(returns), [row.service for row in rows])),
        "episode": torch.tensor(np.unique(numbers, return_inverse=True)[1]),
        "means": _padded([row.mean for row in rows], groups),
        "deviation": _float(np.array([row.deviation for row in rows])),
        "log_density": _float(np.array([row.log_density for row in rows])),
    }
    return Log(*(made[one.name] for one in fields(Log)))


def _beside_their_service(returns: Floats, services: Sequence[str]) -> Floats:
    _, of = np.unique(services, return_inverse=True)
    means = np.bincount(of, weights=returns) / np.bincount(of)
    return np.asarray(returns - means[of])


def _padded(parts: Sequence[NDArray[Any]], groups: int) -> torch.Tensor:
    """(n, groups, ...) with zeros where there is no group."""
    out = np.zeros((len(parts), groups, *parts[0].shape[1:]), np.float32)
    for line, part in zip(out, parts, strict=True):
        line[: len(part)] = part
    return torch.from_numpy(out)


def _float(values: Floats) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _check(objective: Objective) -> None:
    others = [
        one.name
        for one in fields(objective)
        if one.name not in (*TOLD, "slo_latency_s", "class_values") and getattr(objective, one.name)
    ]
    if others:
        raise WeirError(
            f"the objective of the recipe counts {', '.join(others)}, which a log of decisions "
            f"does not tell: it tells {' and '.join(TOLD)}"
        )


def _check_enough(folder: Path, explored: int, episodes: int, counts: Mapping[str, int]) -> None:
    left_out = ", ".join(f"{count} {why}" for why, count in sorted(counts.items())) or "none"
    if not explored:
        if counts.get("without exploration"):
            raise WeirError(
                f"{folder}: nothing can be learned: every action is the policy's own. Give the "
                "BalancingPolicy an `exploration`, and log anew"
            )
        raise WeirError(
            f"{folder}: nothing can be learned: no decision has an outcome (left out: {left_out})"
        )
    if explored < LEAST or episodes < LEAST_EPISODES:
        raise WeirError(
            f"{folder}: too small: {explored} decisions that explored and have an outcome, in "
            f"{episodes} episodes; wanted {LEAST} in {LEAST_EPISODES} (left out: {left_out})"
        )
