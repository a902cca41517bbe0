"""Families of cases, from a service where nothing happens to one where much goes wrong.

A family, a seed, a size and a load give one case, always the same. What a seed draws are the
details: which endpoint is hit, when and how hard, the law and the mean of the work.

Training may use `TRAINING_FAMILIES`, `TRAINING_ENDPOINTS` and seeds below `HELD_OUT_SEEDS`; what
is reported as held out uses seeds from there on, the other sizes, or the families kept back.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from policies.simulator.case import Balancing, Case, Station
from policies.simulator.demand import Law, Traffic, Work
from policies.simulator.steps import Steps

HELD_OUT_SEEDS = 1_000_000
HELD_OUT_FAMILIES = ("gc_pauses", "degradation", "mixed_costs")
TRAINING_ENDPOINTS = (4, 8, 12, 16)
HELD_OUT_ENDPOINTS = (6, 10, 24, 32)
HIGHEST_LOAD = 0.97
"""An event that takes capacity away never leaves more than this part of the rest in use."""

Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Size:
    """How large a case is."""

    endpoints: int = 8
    proxies: int = 4
    load: float = 0.7
    """Part of the capacity of the start that the traffic needs."""
    duration_s: float = 40.0


def scenario(
    family: str,
    *,
    seed: int,
    size: Size | None = None,
    work: Work | None = None,
    balancing: Balancing | None = None,
) -> Case:
    """The case of a family, a seed and a size."""
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    size = size or Size()
    random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(family.encode())]))
    case = Case(
        name=family,
        stations=tuple(Station() for _ in range(size.endpoints)),
        traffic=Traffic(Steps.of(1.0)),
        work=work or _some_work(random),
        proxies=size.proxies,
        duration_s=size.duration_s,
        balancing=balancing or Balancing(),
    )
    return _loaded(FAMILIES[family](case, random), size.load)


def _some_work(random: Random) -> Work:
    mean_s = float(np.exp(random.uniform(np.log(0.02), np.log(0.1))))
    laws = (
        Work(mean_s, Law.EXPONENTIAL),
        Work(mean_s, Law.LOGNORMAL, float(random.uniform(0.3, 2.0))),
        Work(mean_s, Law.DETERMINISTIC),
        Work(mean_s, Law.HYPEREXPONENTIAL, float(random.uniform(1.5, 4.0))),
    )
    return laws[int(random.choice(4, p=(0.4, 0.35, 0.1, 0.15)))]


def _loaded(case: Case, load: float) -> Case:
    """Scale the traffic, whose steps so far are relative to the mean, to a load."""
    times = sorted({t for s in case.stations for t in s.speed.from_s if t < case.duration_s})
    times = [t for t in times if _lasting(case, t)]
    start = case.capacity_rps
    least = min(_capacity_rps(case, t) for t in [0.0, *times])
    rate = min(load * start, HIGHEST_LOAD * least)
    return replace(
        case, traffic=replace(case.traffic, rate_rps=case.traffic.rate_rps * Steps.of(rate))
    )


def _lasting(case: Case, t: float) -> bool:
    """Whether the speeds of this time stand for more than a pause."""
    ends = [
        end
        for s in case.stations
        for begin, end in zip(s.speed.from_s, [*s.speed.from_s[1:], np.inf], strict=True)
        if begin == t
    ]
    return not ends or min(ends) - t > 1.0


def _capacity_rps(case: Case, t: float) -> float:
    present = [s for s in case.stations if s.joins_s <= t]
    return sum(s.workers * s.speed.at(t) for s in present) / case.work.mean_s


def _hardware(case: Case, random: Random, ratio: float) -> Case:
    """About half of the endpoints have machines `ratio` times as fast."""
    n = len(case.stations)
    fast = set(random.permutation(n)[: max(1, n // 2)].tolist())
    mean = (len(fast) * ratio + n - len(fast)) / n
    return _hit(case, {i: Steps.of((ratio if i in fast else 1.0) / mean) for i in range(n)})


def _hit(case: Case, speeds: dict[int, Steps]) -> Case:
    """The same case with the speeds of some endpoints multiplied."""
    stations = [
        replace(s, speed=s.speed * speeds[i]) if i in speeds else s
        for i, s in enumerate(case.stations)
    ]
    return replace(case, stations=tuple(stations))


def _some(case: Case, random: Random, part: float) -> list[int]:
    """One endpoint at least, `part` of them at most."""
    n = len(case.stations)
    return random.permutation(n)[: max(1, int(part * n))].tolist()  # type: ignore[no-any-return]


def _homogeneous(case: Case, random: Random) -> Case:
    return case


def _hardware_2x(case: Case, random: Random) -> Case:
    return _hardware(case, random, 2.0)


def _hardware_4x(case: Case, random: Random) -> Case:
    return _hardware(case, random, 4.0)


def _all_different(case: Case, random: Random) -> Case:
    n = len(case.stations)
    speeds = np.exp(random.uniform(np.log(0.5), np.log(2.0), n))
    speeds /= speeds.mean()
    return _hit(case, {i: Steps.of(v) for i, v in enumerate(speeds.tolist())})


def _sparse(case: Case, random: Random) -> Case:
    """Many proxies, each with little traffic; the machines are unlike."""
    proxies = max(case.proxies, int(random.choice((16, 32, 64))))
    return _hardware(replace(case, proxies=proxies), random, float(random.uniform(2.0, 4.0)))


def _noisy_neighbour(case: Case, random: Random) -> Case:
    """Some endpoints lose part of their speed to others on their machine, for seconds at a time."""
    speeds = {}
    for i in _some(case, random, 0.25):
        spans, at = [], 0.0
        while (at := at + random.uniform(3.0, 8.0)) < case.duration_s:
            end = at + random.uniform(4.0, 10.0)
            spans.append((at, end))
            at = end
        speeds[i] = Steps.during(spans, float(random.uniform(0.35, 0.65)))
    return _hit(_maybe_unlike(case, random), speeds)


def _gc_pauses(case: Case, random: Random) -> Case:
    """Every endpoint stops now and then for a fraction of a second."""
    speeds = {}
    for i in range(len(case.stations)):
        spans, at = [], 0.0
        while (at := at + 0.5 + random.exponential(5.0)) < case.duration_s:
            end = at + random.uniform(0.05, 0.3)
            spans.append((at, end))
            at = end
        speeds[i] = Steps.during(spans, 0.0)
    return _hit(case, speeds)


def _degradation(case: Case, random: Random) -> Case:
    """Some endpoints get slower, little by little."""
    begin, final = random.uniform(5.0, 12.0), random.uniform(0.3, 0.5)
    times = np.arange(begin, case.duration_s, 1.5)
    values = np.linspace(1.0, final, len(times))
    fading = Steps((0.0, *times.tolist()), (1.0, *values.tolist()))
    return _hit(case, dict.fromkeys(_some(case, random, 0.25), fading))


def _slow_half_way(case: Case, random: Random) -> Case:
    """Endpoints turn slow in the middle of the run and stay so."""
    at = case.duration_s * random.uniform(0.35, 0.6)
    slow = Steps((0.0, at), (1.0, float(random.uniform(0.25, 0.6))))
    hit = _some(case, random, 0.15)
    return _hit(_maybe_unlike(case, random), dict.fromkeys(hit, slow))


def _flash_crowd(case: Case, random: Random) -> Case:
    """The load doubles, about, for some seconds."""
    at, length = random.uniform(10.0, 22.0), random.uniform(5.0, 12.0)
    crowd = Steps.during([(at, at + length)], float(random.uniform(1.6, 2.2)))
    quiet = Steps.of(0.6)
    traffic = replace(case.traffic, rate_rps=case.traffic.rate_rps * crowd * quiet)
    return replace(_maybe_unlike(case, random), traffic=traffic)


def _scale_out(case: Case, random: Random) -> Case:
    """Endpoints are added under load, and are slow until their caches are warm."""
    n = len(case.stations)
    at = float(random.uniform(8.0, 18.0))
    speed = Steps.of(1.0)
    for k, value in enumerate(np.linspace(0.3, 1.0, 6)[:-1].tolist()):
        begin = at + 2.0 * k
        speed = speed * Steps.during([(begin, begin + 2.0)], value)
    new = range(n - max(1, n // 4), n)
    stations = [
        replace(s, joins_s=at, speed=s.speed * speed) if i in new else s
        for i, s in enumerate(case.stations)
    ]
    return replace(case, stations=tuple(stations))


def _bursty(case: Case, random: Random) -> Case:
    traffic = replace(
        case.traffic, burst=float(random.uniform(1.4, 2.0)), burst_s=float(random.uniform(0.3, 1.5))
    )
    return replace(_maybe_unlike(case, random), traffic=traffic)


def _mixed_costs(case: Case, random: Random) -> Case:
    """Most requests are cheap, a few are ten times dearer."""
    work = Work(case.work.mean_s, Law.BIMODAL, float(random.uniform(1.0, 1.7)))
    return replace(_maybe_unlike(case, random), work=work)


def _grey_failure(case: Case, random: Random) -> Case:
    """An endpoint that passes every health check serves slowly, and fails a little."""
    at = case.duration_s * random.uniform(0.25, 0.5)
    hit = _some(case, random, 0.13)[:2]
    slow = Steps((0.0, at), (1.0, float(random.uniform(0.15, 0.3))))
    fails = Steps((0.0, at), (0.0, float(random.uniform(0.02, 0.08))))
    case = _hit(case, dict.fromkeys(hit, slow))
    stations = [replace(s, fails=fails) if i in hit else s for i, s in enumerate(case.stations)]
    return replace(case, stations=tuple(stations))


def _fast_failing(case: Case, random: Random) -> Case:
    """An endpoint answers most requests at once, with an error."""
    at = case.duration_s * random.uniform(0.25, 0.5)
    hit = _some(case, random, 0.13)[0]
    fails = Steps((0.0, at), (0.0, float(random.uniform(0.6, 1.0))))
    stations = [
        replace(s, fails=fails, fail_work=0.05) if i == hit else s
        for i, s in enumerate(case.stations)
    ]
    return replace(case, stations=tuple(stations))


def _maybe_unlike(case: Case, random: Random) -> Case:
    """In half of the cases the machines are unlike as well."""
    ratio = float(random.uniform(1.5, 4.0))
    return _hardware(case, random, ratio) if random.random() < 0.5 else case


FAMILIES: dict[str, Callable[[Case, Random], Case]] = {
    "homogeneous": _homogeneous,
    "hardware_2x": _hardware_2x,
    "hardware_4x": _hardware_4x,
    "all_different": _all_different,
    "sparse": _sparse,
    "noisy_neighbour": _noisy_neighbour,
    "gc_pauses": _gc_pauses,
    "degradation": _degradation,
    "slow_half_way": _slow_half_way,
    "flash_crowd": _flash_crowd,
    "scale_out": _scale_out,
    "bursty": _bursty,
    "mixed_costs": _mixed_costs,
    "grey_failure": _grey_failure,
    "fast_failing": _fast_failing,
}
TRAINING_FAMILIES = tuple(name for name in FAMILIES if name not in HELD_OUT_FAMILIES)
