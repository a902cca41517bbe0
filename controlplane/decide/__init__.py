"""What to do: from a look to a proposal. Pure but for the loading of policies.

`Decider` is the stage that the loop calls. It folds a look into the `Estimate`, settles the groups
(`grouping`), asks each policy once for all of its services (`equal`, `capacity`, `queueing`, and
what other distributions offer), and mixes and snaps what they propose (`rollout`, `snap`).
Where a Backend tells places apart, `Places` says which zones the Envoys of each send to; `between`
is `model` for that.
What another replica decided comes in by `handed`, so that this one can go on from there.
`docs/decide.md` has the equations and the reason of every constant.
"""

from controlplane.decide.decider import Asked, Decided, Decider, Memory
from controlplane.decide.handed import handed
from controlplane.decide.places import Places
from controlplane.decide.regions import between
from controlplane.decide.registry import Policies

__all__ = ["Asked", "Decided", "Decider", "Memory", "Places", "Policies", "between", "handed"]
