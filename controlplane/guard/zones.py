"""What may be sent of a split between zones: the guard's points, for each place of Envoys.

Inside a zone `check` guards; here is what goes on between them. A place is a row of shares, which
sum to 1 whatever is done to them: what is taken off one zone goes to the others.

1. A wish that is no split is refused as a whole; old numbers, or such as cover too little, move
   nothing, and very old ones lead back to the baseline.
2. No place sends more than half of its requests to a zone that fails far more than the others, or
   more than before.
3. The crowd: no zone is planned beyond what it takes when the load rises by half.
4. A step: so much of a place's requests goes elsewhere at a time, unless what is in force is beyond
   the bound of the crowd: a zone that is flooded does not wait for steps.
"""

from __future__ import annotations

import numpy as np

from controlplane.guard.bounds import NOTHING
from controlplane.guard.capacity import baseline, believed
from controlplane.guard.evidence import Evidence, weigh
from controlplane.guard.reasons import Code
from controlplane.model import Reason
from controlplane.model.crossing import Allowed, Crossing
from controlplane.model.observation import Floats

RISE = 1.5
"""A sudden rise of the load by this factor floods no zone while the others have room."""
FAILING_MOST = 0.5
"""A place sends at most this part of its requests to a zone that fails."""
STEP = 0.3
"""This part of a place's requests goes elsewhere at a time."""


def check_zones(crossing: Crossing, now_s: float) -> Allowed:
    """The shares that may be sent, and why they are not those wanted. Pure."""
    look, service = crossing.whole.observation, crossing.whole.service
    settings, before = service.guard, crossing.before
    age_s = now_s - look.at_s
    if not age_s <= settings.fresh_intervals * service.interval_s:
        return _late(crossing, age_s)
    if not look.coverage >= settings.coverage:
        text = f"the numbers cover {look.coverage:.0%} of what should report: nothing moves"
        return Allowed(before, (Reason(Code.COVERAGE, text),))
    target, refused = _valid(crossing)
    if target is None:
        return Allowed(before, refused)
    evidence = weigh(look, crossing.whole.grouping, settings.freeze_after_s)
    target, failing = _leave(crossing, target, evidence)
    most = ceilings(crossing, evidence)
    target, crowd = _within(crossing, target, most, evidence)
    flooded = (crossing.loads(before) - most).max() > NOTHING
    after, stepped = (target, ()) if flooded else _step(crossing, target)
    return Allowed(after, failing + crowd + stepped)


def _late(crossing: Crossing, age_s: float) -> Allowed:
    settings = crossing.whole.service.guard
    what = f"the newest numbers are {age_s:.1f} s old" if np.isfinite(age_s) else "no numbers yet"
    if age_s <= settings.decay_until_s:
        reason = Reason(Code.STALE, f"{what}: nothing moves between zones")
        return Allowed(crossing.before, (reason,))
    after, _ = _step(crossing, crossing.baseline)
    return Allowed(after, (Reason(Code.BASELINE, f"{what}: on the way to the own zone first"),))


def _valid(crossing: Crossing) -> tuple[Floats | None, tuple[Reason, ...]]:
    """The wanted shares with rows that sum to 1, or why they cannot be had."""
    wanted = np.asarray(crossing.wanted, np.float64)
    if wanted.shape != crossing.before.shape:
        return None, _refused(f"its shape is {wanted.shape}, wanted {crossing.before.shape}")
    if not np.isfinite(wanted).all():
        return None, _refused(f"{np.count_nonzero(~np.isfinite(wanted))} shares are not finite")
    if wanted.min() < 0.0:
        return None, _refused(f"the smallest share is {wanted.min():.4g}, below 0")
    largest = wanted.max(axis=1, keepdims=True)
    if not largest.all():
        return None, _refused("a place sends nowhere")
    wanted = wanted / largest  # so that the sum of huge numbers stays finite
    return wanted / wanted.sum(axis=1, keepdims=True), ()


def _refused(why: str) -> tuple[Reason, ...]:
    text = f"the split between zones is refused, nothing moves: {why}"
    return (Reason(Code.REFUSED, text),)


def _leave(
    crossing: Crossing, target: Floats, evidence: Evidence
) -> tuple[Floats, tuple[Reason, ...]]:
    """No more to a zone that fails than before, and not all; the others take it by capacity."""
    failing = evidence.failing
    if not failing.any() or failing.all():
        return target, ()
    most = np.where(failing, np.minimum(crossing.before, FAILING_MOST), np.inf)
    kept = np.minimum(target, most)
    to = np.where(failing, 0.0, _capacity(crossing))
    after = kept + (1.0 - kept.sum(axis=1, keepdims=True)) * to / to.sum()
    over = target - kept
    if over.max() <= NOTHING:
        return target, ()
    i, z = np.unravel_index(int(over.argmax()), over.shape)
    name = crossing.whole.grouping.names[z]
    text = (
        f"{name} fails {evidence.error_ratio[z]:.0%} of its requests, far more than the others: "
        f"Envoys in {crossing.places[i]} send {kept[i, z]:.1%} there, not {target[i, z]:.1%}"
    )
    return after, (Reason(Code.BLACK_HOLE, text),)


def _within(
    crossing: Crossing, target: Floats, most: Floats, evidence: Evidence
) -> tuple[Floats, tuple[Reason, ...]]:
    """No zone beyond what it takes when the load rises by half.

    Places give up what is too much in proportion to what they send there; the others take it in
    proportion to the room that they have, so that none of them is brought beyond its own bound. A
    zone that fails takes none of it: where that leaves too little room the bounds give way.
    """
    loads = crossing.loads(target)
    over = loads - most
    if over.max() <= NOTHING:
        return target, ()
    with np.errstate(all="ignore"):
        kept = target * np.where(over > 0.0, most / loads, 1.0)
    well = 1.0 if evidence.failing.all() else 1.0 - evidence.failing
    room, others = np.maximum(most - loads, 0.0) * well, _capacity(crossing) * well
    lacking = max(float(np.maximum(over, 0.0).sum() - room.sum()), 0.0)
    room = room + lacking * others / others.sum()
    after = kept + (1.0 - kept.sum(axis=1, keepdims=True)) * room / room.sum()
    worst = int(over.argmax())
    text = (
        f"at {RISE:g} times the present {evidence.rate_rps:.4g} requests/s "
        f"{crossing.whole.grouping.names[worst]} would be flooded: it may get {most[worst]:.1%} of "
        f"them, not {loads[worst]:.1%}"
    )
    return after, (Reason(Code.CROWD, text),)


def ceilings(crossing: Crossing, evidence: Evidence) -> Floats:
    """(zones,) the most of all requests that each may get; they leave room for all of them.

    By the lesser of the capacities that are believed and declared. Where all zones together could
    not carry the rise, it is a little more than the part of the capacity. A zone that fails does
    not do what it once could, so the others may take what it gives up.
    """
    whole, settings = crossing.whole, crossing.whole.service.guard
    capacity = believed(whole.grouping, whole.estimate)
    if capacity is None or evidence.rate_rps <= 0.0:
        return np.ones(len(whole.grouping.names))
    all_rps = float(capacity.sum())
    zones = whole.grouping.total(capacity)
    said, by_capacity = baseline(crossing.declared, whole.grouping.endpoints)
    if by_capacity:
        zones = np.minimum(zones, all_rps * whole.grouping.total(said))
    zones = np.where(evidence.failing, settings.min_ratio, 1.0) * zones
    parts = zones / zones.sum()
    most = parts * max(settings.crowd_slack, float(zones.sum()) / (RISE * evidence.rate_rps))
    return np.asarray(np.minimum(most, 1.0), np.float64)


def _capacity(crossing: Crossing) -> Floats:
    """(zones,) as it is believed, or else as it is declared; in any unit."""
    grouping = crossing.whole.grouping
    capacity = believed(grouping, crossing.whole.estimate)
    if capacity is None:
        capacity, _ = baseline(crossing.declared, grouping.endpoints)
    return grouping.total(capacity)


def _step(crossing: Crossing, target: Floats) -> tuple[Floats, tuple[Reason, ...]]:
    """All places by the same part of their way: on a straight line between two splits no zone has
    more than at the worse end of it. With a part of its own for each place it may have."""
    before = crossing.before
    far = 0.5 * np.abs(target - before).sum(axis=1)
    worst = int(far.argmax())
    if far[worst] <= STEP:
        return target, ()
    text = (
        f"Envoys in {crossing.places[worst]} send {STEP:.0%} of their requests elsewhere now, not "
        f"{far[worst]:.1%}, and all others by the same part of their way"
    )
    return before + STEP / far[worst] * (target - before), (Reason(Code.STEPPED, text),)
