"""What can happen to a service: each family changes a case in which nothing does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from policies.simulator.case import Case
from policies.simulator.demand import Law, Mmpp, RequestClass, Work
from policies.simulator.steps import Steps

Random = np.random.Generator


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


def _unlike(case: Case, speeds: NDArray[np.float64]) -> Case:
    """The same case with these speeds for its endpoints, 1 in the mean."""
    return _hit(case, {i: Steps.of(v) for i, v in enumerate((speeds / speeds.mean()).tolist())})


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
    return _unlike(case, np.exp(random.uniform(np.log(0.5), np.log(2.0), n)))


def _generations(case: Case, random: Random) -> Case:
    """Machines of three or four generations, each some 1.6 to 2.4 times as fast as the one
    before."""
    n = len(case.stations)
    ratio, many = float(random.uniform(1.6, 2.4)), int(random.integers(3, 5))
    return _unlike(case, ratio ** (random.permutation(n) % many).astype(np.float64))


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
    return _maybe_unlike(replace(case, stations=tuple(stations)), random)


def _mixed_classes(case: Case, random: Random) -> Case:
    """Reads, writes and reports: they cost, and are worth, something else each."""
    dear = float(random.uniform(4.0, 8.0))
    classes = (
        RequestClass("read", 0.7, 0.5, 1.0),
        RequestClass("write", 0.25, 1.5, 5.0),
        RequestClass("report", 0.05, dear, 2.0),
    )
    return replace(_maybe_unlike(case, random), classes=classes)


def _sparse_50(case: Case, random: Random) -> Case:
    return _hardware(replace(case, proxies=50), random, float(random.uniform(2.0, 4.0)))


def _sparse_128(case: Case, random: Random) -> Case:
    return _hardware(replace(case, proxies=128), random, float(random.uniform(2.0, 4.0)))


def _cold_caches(case: Case, random: Random) -> Case:
    """Endpoints are added under load, and requests warm their caches: few requests, long cold."""
    n = len(case.stations)
    at, cold = float(random.uniform(8.0, 18.0)), float(random.uniform(2.0, 4.0))
    after = float(random.uniform(100.0, 600.0))
    new = range(n - max(1, n // 4), n)
    stations = [
        replace(s, joins_s=at, cold=cold, warm_after=after) if i in new else s
        for i, s in enumerate(case.stations)
    ]
    return replace(case, stations=tuple(stations))


def _shared_workers(case: Case, random: Random) -> Case:
    """Endpoints serve all of their requests at once (threads on cores), and are unlike."""
    case = _maybe_unlike(case, random)
    return replace(case, stations=tuple(replace(s, sharing=True) for s in case.stations))


def _diurnal(case: Case, random: Random) -> Case:
    """A day in a run: from a quarter of the traffic up to the load, and down again."""
    swing = float(random.uniform(0.4, 0.7))
    day = Steps.wave(1.0 / (1.0 + swing), swing, case.duration_s, case.duration_s)
    return replace(_maybe_unlike(case, random), traffic=replace(case.traffic, rate_rps=day))


def _phases(case: Case, random: Random) -> Case:
    """Quiet, usual and busy seconds, in no order."""
    busy = float(random.uniform(1.3, 1.7))
    lasts = (float(random.uniform(1.0, 4.0)), 4.0, float(random.uniform(0.5, 2.0)))
    rates = np.array([0.5, 1.0, busy])
    rates *= sum(lasts) / float(rates @ np.array(lasts))
    mmpp = Mmpp(tuple(rates.tolist()), lasts)
    return replace(_maybe_unlike(case, random), traffic=replace(case.traffic, mmpp=mmpp))


def _lossy_telemetry(case: Case, random: Random) -> Case:
    """A tenth of the requests is seen, reports get lost, and decisions are late."""
    case = replace(
        case,
        sampling=0.1,
        loss=float(random.uniform(0.1, 0.4)),
        delay_s=float(random.uniform(0.4, 0.9)),
    )
    return _maybe_unlike(case, random)


def _regions(case: Case, random: Random, names: tuple[str, ...]) -> Case:
    """Traffic is not where the endpoints are; the way to another region is a part of the work."""
    x, n = len(names), len(case.stations)
    proxies = max(case.proxies, x)
    parts = random.dirichlet(np.full(x, 6.0))
    far = np.triu(random.uniform(0.15, 0.6, (x, x)) * case.work.mean_s, 1)
    network = far + far.T + np.diag(np.full(x, 0.001))
    stations = tuple(replace(s, region=i * x // n) for i, s in enumerate(case.stations))
    return replace(
        case,
        stations=stations,
        proxies=proxies,
        regions=names,
        proxy_regions=tuple(i % x for i in range(proxies)),
        region_traffic=tuple(parts.tolist()),
        network_s=tuple(tuple(row) for row in network.tolist()),
    )


def _two_regions(case: Case, random: Random) -> Case:
    return _regions(_maybe_unlike(case, random), random, ("north", "south"))


def _three_regions(case: Case, random: Random) -> Case:
    return _regions(_maybe_unlike(case, random), random, ("north", "south", "west"))


def _slow_region(case: Case, random: Random) -> Case:
    """One of two regions turns slow half-way: its proxies should send more to the other."""
    case = _regions(case, random, ("north", "south"))
    at = case.duration_s * random.uniform(0.35, 0.6)
    slow = Steps((0.0, at), (1.0, float(random.uniform(0.5, 0.75))))
    ill = int(random.integers(2))
    return _hit(case, {i: slow for i, s in enumerate(case.stations) if s.region == ill})


def _maybe_unlike(case: Case, random: Random) -> Case:
    """In half of the cases the machines are unlike as well."""
    ratio = float(random.uniform(1.5, 4.0))
    return _hardware(case, random, ratio) if random.random() < 0.5 else case


FAMILIES: dict[str, Callable[[Case, Random], Case]] = {
    "homogeneous": _homogeneous,
    "hardware_2x": _hardware_2x,
    "hardware_4x": _hardware_4x,
    "all_different": _all_different,
    "generations": _generations,
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
    "mixed_classes": _mixed_classes,
    "sparse_50": _sparse_50,
    "sparse_128": _sparse_128,
    "cold_caches": _cold_caches,
    "shared_workers": _shared_workers,
    "diurnal": _diurnal,
    "phases": _phases,
    "lossy_telemetry": _lossy_telemetry,
    "two_regions": _two_regions,
    "three_regions": _three_regions,
    "slow_region": _slow_region,
}
