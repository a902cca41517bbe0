"""A discrete-event simulator of a fleet of Envoys, their endpoints and their clients.

What it has: open-loop arrivals, Poisson, bursty, by phases, by day and night, or replayed; Envoy's
ROUND_ROBIN, LEAST_REQUEST (N choices, FULL_SCAN, weights with `active_request_bias`), RANDOM,
CSWRR over ORCA, RING_HASH and MAGLEV, Peak EWMA, and an omniscient bound; locality weights as a
schedule over groups, for each region of proxies its own; priorities with overprovisioning and
panic; outlier detection; balancers (one a proxy worker) that know only their own requests in
flight. Endpoints are workers behind one queue, or shared by all requests, with a speed and a
failure ratio that are given functions of time, and caches that may be cold. Regions have latencies
between them, requests have classes, telemetry is sampled, late and partly lost. It has no
connections and no retries. docs/simulator.md has the whole, with what it was checked against.

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
`tenants` puts several services on the
same machines. `policies.env.lockstep` runs whole control loops with a delay between look and
weights.
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
from policies.simulator.families import FAMILIES
from policies.simulator.scenarios import (
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
from policies.simulator.tenants import tenants
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
    "tenants",
]
