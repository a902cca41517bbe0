"""Point 6: the ladder. The older the numbers, the less they may move."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import IntEnum

from controlplane.guard.memory import Freshness
from controlplane.guard.reasons import Code
from controlplane.model import GuardSettings, Observation, Reason, Service
from controlplane.model.observation import Floats


class Rung(IntEnum):
    """How far the numbers can be trusted; higher is worse."""

    NORMAL = 0
    FREEZE = 1
    """Nothing moves."""
    DECAY = 2
    """Toward the baseline, in a straight line over time."""
    BASELINE = 3
    """The baseline."""


def climb(
    before: Freshness, look: Observation, news: bool, service: Service, now_s: float
) -> tuple[Rung, Freshness, Reason | None]:
    """On which rung a service stands after this look.

    `news` says whether the look holds any number at all. A look that repeats the one before to the
    last bit is no news either, whatever time it claims: real traffic never does that.
    """
    settings = service.guard
    stamp = hash((look.succeeded.tobytes(), look.latency_s.tobytes(), look.in_flight.tobytes()))
    newest_s = before.newest_s
    if news and stamp != before.stamp and math.isfinite(look.at_s):
        newest_s = max(newest_s, min(look.at_s, now_s))
    started = math.isfinite(newest_s)
    age_s = now_s - (newest_s if started else before.since_s)
    fresh = started and age_s <= settings.fresh_intervals * service.interval_s
    fresh_since_s = None
    stale = before.stale or (started and not fresh)
    if fresh and stale:
        fresh_since_s = before.fresh_since_s if before.fresh_since_s is not None else now_s
        stale = now_s - fresh_since_s < settings.recover_s
    after = replace(
        before,
        newest_s=newest_s,
        stamp=stamp,
        stale=stale,
        fresh_since_s=fresh_since_s if stale else None,
    )
    if fresh:
        return (*_fresh(after, news, now_s, settings),)
    rung = _rung(age_s, settings)
    return rung, after, _reason(rung, age_s, started, settings)


def decayed(
    before: Floats, baseline: Floats, freshness: Freshness, moved_s: float, now_s: float,
    settings: GuardSettings,
) -> Floats:  # fmt: skip
    """Where the straight line from the last move to the baseline stands now."""
    base_s = freshness.newest_s if math.isfinite(freshness.newest_s) else freshness.since_s
    from_s = max(moved_s, base_s + settings.freeze_after_s)
    left_s = base_s + settings.decay_until_s - from_s
    part = min(1.0, max(0.0, (now_s - from_s) / left_s)) if left_s > 0 else 1.0
    return before + part * (baseline - before)


def _fresh(
    after: Freshness, news: bool, now_s: float, settings: GuardSettings
) -> tuple[Rung, Freshness, Reason | None]:
    if after.fresh_since_s is not None:
        left_s = settings.recover_s - (now_s - after.fresh_since_s)
        text = f"the numbers are fresh again; nothing moves for another {left_s:.1f} s"
        return Rung.FREEZE, after, Reason(Code.RECOVERING, text)
    if not news:
        text = "this look holds no number of any endpoint; nothing moves"
        return Rung.FREEZE, after, Reason(Code.MISSING, text)
    return Rung.NORMAL, after, None


def _rung(age_s: float, settings: GuardSettings) -> Rung:
    if age_s <= settings.freeze_after_s:
        return Rung.FREEZE
    return Rung.DECAY if age_s <= settings.decay_until_s else Rung.BASELINE


def _reason(rung: Rung, age_s: float, started: bool, settings: GuardSettings) -> Reason:
    what = f"the newest numbers are {age_s:.1f} s old" if started else (
        f"no numbers have come in {age_s:.1f} s"
    )  # fmt: skip
    match rung:
        case Rung.DECAY:
            until = settings.decay_until_s
            return Reason(Code.DECAYING, f"{what}: on the way to the baseline until {until:g} s")
        case Rung.BASELINE:
            return Reason(Code.BASELINE, f"{what}: the baseline is in force")
        case _:
            return Reason(Code.STALE, f"{what}: nothing moves")
