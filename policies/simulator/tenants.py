"""Several services whose endpoints run on the same machines.

What one sends to a machine waits behind what the others sent there, and none sees the requests of
the others. To the event loop that is a case with a region for each service, whose ways are nothing:
a region has proxies, traffic, a split and telemetry of its own, which is all that a service has.
"""

from __future__ import annotations

from dataclasses import replace

from policies.simulator.case import Case
from policies.simulator.demand import RequestClass


def tenants(
    case: Case,
    names: tuple[str, ...],
    parts: tuple[float, ...] | None = None,
    work: tuple[float, ...] | None = None,
) -> Case:
    """The case with its stations as machines that these services share.

    `parts` of the traffic, each as much if not given; `work` of a request of each, as multiples of
    the case's. Each service has its own `case.proxies` / n proxies, one at least.
    `Simulation.split` takes a row for each, `telemetry_by_region` and `outcome_by_class` give one.
    """
    n = len(names)
    if len(case.regions) > 1 or len(case.classes) > 1:
        raise ValueError(f"{case.name}: machines are shared in one region, by one class each")
    if any(one.joins_s > 0.0 for one in case.stations):
        raise ValueError(f"{case.name}: shared machines are there from the start")
    parts = parts or (1.0 / n,) * n
    work = work or (1.0,) * n
    if not n == len(set(names)) == len(parts) == len(work):
        raise ValueError("wanted a name of its own, a part and a work for each service")
    proxies = max(case.proxies // n, 1) * n
    return replace(
        case,
        stations=tuple(replace(one, region=0) for one in case.stations),
        proxies=proxies,
        regions=names,
        proxy_regions=tuple(i % n for i in range(proxies)),
        region_traffic=parts,
        network_s=((0.0,) * n,) * n,
        classes=tuple(map(RequestClass, names, parts, work)),
        class_by_region=True,
    )
