"""What stands between whatever decides and whatever is sent. Pure: no I/O, no clock, no policy.

`check` answers a proposal with weights and reasons, in ten points, one module each:

1. `validate`    a proposal that is not a split is refused as a whole
2. `bounds`      no share far from its capacity share (`capacity`); the nearest split, exactly
3. `steps`       a little at a time, faster only away from what is sick
4. `hold`        no push too small to matter, none sooner than the traffic allows
5. `encode`      integers of 1 or more and of a fixed total, by largest remainder
6. `staleness`   the older the numbers, the less they move; `filling` for one endpoint's
7. `suspicion`   most endpoints bad at once, or too few heard of: nothing moves
8. `warmup`      a new endpoint starts low and ramps
9. `black_hole`  a fast error is not speed; `crowd`: nor is an idle endpoint a spare one
10. the kill switch: `frozen` keeps what is in force to the unit

`check_zones` is the same for the split between the zones of a service (`zones`).

`carry` brings what is in force to the endpoints and groups of now; `evidence` sums up a look.
"""

from controlplane.guard.check import check, shares_in_force
from controlplane.guard.memory import Freshness, Memory, begun, handed, resumed
from controlplane.guard.reasons import Code
from controlplane.guard.zones import check_zones

__all__ = [
    "Code",
    "Freshness",
    "Memory",
    "begun",
    "check",
    "check_zones",
    "handed",
    "resumed",
    "shares_in_force",
]
