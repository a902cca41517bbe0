"""What the demo and the benchmarks play: backends, arrivals, and what happens when.

A scenario is a frozen value in fractions of the run; `stage` makes it concrete for a duration, a
rate and a seed. The standard mix asks for 80 ms of work a request on average, and the unlike
backends do 35.2 seconds of work a second, so 280 requests a second are a load of 64 %; 70 % once
one of the middle class has become three times slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from controlplane.errors import ConfigurationError
from controlplane.lab.backends import BackendSpec, Event, Happening
from controlplane.lab.schedule import Arrivals, Schedule, WorkMix, draw_schedule

STANDARD_WORK = WorkMix()


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happens to one backend, as a fraction of the run."""

    at: float
    backend: int
    happening: Happening
    value: float
    text: str = ""
    """For people: what happens; nothing, where it goes without saying."""


@dataclass(frozen=True, slots=True)
class Spells:
    """What happens to backends again and again, at times and of lengths that the seed draws."""

    backends: tuple[int, ...]
    happening: Happening
    """SLOW, by `factor`, or PAUSE."""
    apart_s: tuple[float, float]
    """From the end of a spell to the next, between these."""
    lasts_s: tuple[float, float]
    text: str
    """For people: what happens."""
    factor: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.happening not in (Happening.SLOW, Happening.PAUSE):
            raise ValueError(f"a spell is slowness or a pause, not {self.happening}")
        if min(self.apart_s) <= 0.0 or min(self.lasts_s) <= 0.0:
            raise ValueError("spells last a while, and there is a while between them")

    def draw(self, rng: np.random.Generator, duration_s: float) -> Iterator[Event]:
        """The spells of one run; the last one may go on beyond its end."""
        for backend in self.backends:
            at = 0.0
            while (at := at + float(rng.uniform(*self.apart_s))) < duration_s:
                lasts, factor = float(rng.uniform(*self.lasts_s)), float(rng.uniform(*self.factor))
                if self.happening is Happening.PAUSE:
                    yield Event(at, backend, Happening.PAUSE, lasts)
                else:
                    yield Event(at, backend, Happening.SLOW, factor)
                    yield Event(at + lasts, backend, Happening.RESTORE)
                at += lasts


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named play."""

    name: str
    title: str
    backends: tuple[BackendSpec, ...]
    rate_rps: float = 280.0
    """Requests a second to each lane, at factor 1 of the profile."""
    work: WorkMix = STANDARD_WORK
    profile: tuple[tuple[float, float, str], ...] = ()
    """(fraction of the run, factor of the rate, what it is)."""
    burst_factor: float = 1.0
    moments: tuple[Moment, ...] = ()
    spells: tuple[Spells, ...] = ()
    joins: tuple[tuple[float, int], ...] = ()
    """(fraction of the run, backend that is not in the service before)."""
    envoys: int = 12
    """In each lane, unless said otherwise."""

    @property
    def load(self) -> float:
        """Part of the backends' capacity that factor 1 asks for."""
        return self.rate_rps * self.work.mean_s / sum(one.capacity for one in self.backends)


def backends(*classes: tuple[str, int, float]) -> tuple[BackendSpec, ...]:
    """Of each class (kind, how many, speed), with 4 workers each."""
    return tuple(
        BackendSpec(workers=4, speed=speed, kind=kind)
        for kind, count, speed in classes
        for _ in range(count)
    )


UNLIKE = backends(("fast", 2, 1.8), ("middle", 2, 1.2), ("slow", 4, 0.7))
"""Three classes of hardware, 2.6 times from end to end."""
ALIKE = backends(("", 8, 1.0))

DEMO = Scenario(
    name="demo",
    title="8 unlike backends (2.6x); one of the middle class turns slow half-way",
    backends=UNLIKE,
    moments=(Moment(0.5, 2, Happening.SLOW, 3.0, "backend 3 becomes 3 times slower"),),
)
HOMOGENEOUS = Scenario(
    name="homogeneous",
    title="8 equal backends, nothing happens: there is nothing to gain, only harm to avoid",
    backends=ALIKE,
)
FLASH_CROWD = Scenario(
    name="flash-crowd",
    title="8 unlike backends (2.6x); a quiet time, then a crowd at once",
    backends=UNLIKE,
    profile=(
        (-1.0, 0.35, "quiet"),
        (0.4, 1.2, "a crowd: 3.4 times the requests"),
        (0.7, 0.7, "the crowd thins out"),
    ),
)
FAST_FAIL = Scenario(
    name="fast-fail",
    title="8 unlike backends (2.6x); one of the middle class fails fast for a quarter of the run",
    backends=UNLIKE,
    moments=(
        Moment(0.5, 2, Happening.FAIL, 1.0, "backend 3 answers 503 at once"),
        Moment(0.75, 2, Happening.RESTORE, 1.0, "backend 3 is well again"),
    ),
)
SCENARIOS = {one.name: one for one in (DEMO, HOMOGENEOUS, FLASH_CROWD, FAST_FAIL)}


def scenario_named(name: str) -> Scenario:
    """The scenario of this name. Raises `ConfigurationError` that lists what there is."""
    if name not in SCENARIOS:
        raise ConfigurationError(f"no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A scenario made concrete."""

    scenario: Scenario
    schedule: Schedule
    events: tuple[Event, ...]
    announcements: tuple[tuple[float, str], ...]
    """(seconds after the start, what happens), in order."""
    joins: tuple[tuple[float, int], ...] = ()
    """(seconds after the start, backend that is in the service from then on), in order."""

    def members(self, at_s: float) -> tuple[int, ...]:
        """The backends that the service has at a time."""
        later = {backend for joins_s, backend in self.joins if joins_s > at_s}
        return tuple(i for i in range(len(self.scenario.backends)) if i not in later)


def stage(
    scenario: Scenario,
    *,
    seed: int,
    duration_s: float,
    envoys: int,
    rate_rps: float | None = None,
    warmup_s: float = 0.0,
) -> Stage:
    """This scenario for so long, from this seed."""
    rate = scenario.rate_rps if rate_rps is None else rate_rps
    profile = tuple((max(at * duration_s, -warmup_s), by) for at, by, _ in scenario.profile)
    arrivals = Arrivals(rate, profile, burst_factor=scenario.burst_factor)
    schedule = draw_schedule(
        seed, arrivals, scenario.work, duration_s=duration_s, envoys=envoys, warmup_s=warmup_s
    )
    events = [
        Event(one.at * duration_s, one.backend, one.happening, one.value)
        for one in scenario.moments
    ]
    spells = np.random.default_rng([seed, 1])
    for spell in scenario.spells:
        events += spell.draw(spells, duration_s)
    joins = sorted((at * duration_s, backend) for at, backend in scenario.joins)
    said = [(one.at * duration_s, one.text) for one in scenario.moments if one.text]
    said += [(at * duration_s, text) for at, _, text in scenario.profile if at > 0]
    said += [(0.0, spell.text) for spell in scenario.spells]
    said += [(at, f"backend {backend + 1} joins") for at, backend in joins]
    in_order = tuple(sorted(events, key=lambda event: event.at_s))
    return Stage(scenario, schedule, in_order, tuple(sorted(said)), tuple(joins))
