"""A discrete-event simulator of a fleet of Envoys, their endpoints and their clients.

What it has: open-loop Poisson and bursty arrivals that change with time; ROUND_ROBIN as the
weighted schedule that Envoy has, LEAST_REQUEST with N choices and with FULL_SCAN, both also with
unequal endpoint weights and `active_request_bias`; locality weights as a schedule over groups;
outlier detection; and balancers (one a proxy worker) that know only their own requests in flight.
Endpoints are workers behind one queue, first come, first served, with a speed and a failure ratio
that are given functions of time. It has no network, no connections and no retries.

    case = scenario("hardware_4x", seed=1, size=Size(endpoints=8, proxies=16, load=0.7))
    run = Simulation(case, seed=1)          # same case and seed: the same requests for every policy
    while run.now_s < case.duration_s:
        run.advance(run.now_s + 1.0)
        look = run.telemetry().observation(case.service(run.now_s).name)   # an Observation
        run.split(grouping, shares)         # a controlplane Grouping and (g,) shares above 0
    run.drain()
    felt = run.outcome()                    # .mean_s, .quantile_s(0.99), .error_ratio, .requests

`case.service(at_s)` is the declared service (its endpoints change when a case scales out).
`telemetry()` covers the time since its last call; `outcome()` the requests that arrived since its
last call, each with the latency that it gets in the end. Stock Envoy: leave the weights alone and
give `Balancing(Algorithm.LEAST_REQUEST)` (P2C) or `Balancing(Algorithm.FULL_SCAN)`.
`policies.simulator.play` runs whole control loops with a delay between look and weights.
"""

from policies.simulator.case import (
    Algorithm,
    Balancing,
    Case,
    Orca,
    Station,
    endpoint_id,
    station_of,
)
from policies.simulator.demand import Keys, Law, Mmpp, RequestClass, Traffic, Work
from policies.simulator.scenarios import (
    FAMILIES,
    HELD_OUT_ENDPOINTS,
    HELD_OUT_FAMILIES,
    HELD_OUT_SEEDS,
    TRAINING_ENDPOINTS,
    TRAINING_FAMILIES,
    Size,
    scenario,
)
from policies.simulator.simulation import Simulation, one_group
from policies.simulator.steps import Steps
from policies.simulator.telemetry import Outcome, Telemetry
from policies.simulator.trace import Trace

__all__ = [
    "FAMILIES",
    "HELD_OUT_ENDPOINTS",
    "HELD_OUT_FAMILIES",
    "HELD_OUT_SEEDS",
    "TRAINING_ENDPOINTS",
    "TRAINING_FAMILIES",
    "Algorithm",
    "Balancing",
    "Case",
    "Keys",
    "Law",
    "Mmpp",
    "Orca",
    "Outcome",
    "RequestClass",
    "Simulation",
    "Size",
    "Station",
    "Steps",
    "Telemetry",
    "Trace",
    "Traffic",
    "Work",
    "endpoint_id",
    "one_group",
    "scenario",
    "station_of",
]
