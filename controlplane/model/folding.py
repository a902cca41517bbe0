"""How one look changes what is believed: the arithmetic behind `Estimate`, on flat arrays.

Endpoints of many services stand side by side, so that a thousand services are folded in the time
of a few dozen numpy calls; `starts` says where each service begins. `docs/decide.md` derives the
equations. In short:

- Capacity is completions per utilisation. Utilisation is what the endpoint says (ORCA), or else
  is inferred from the requests in flight, which on a station of c servers follow from it. Looks
  alone cannot tell c from speed, so every c of `queues.SERVERS` is carried as a hypothesis with
  its own capacity level; only what endpoints say of themselves weighs one against another.
- Each level is a Kalman filter whose noise is the sampling noise of the look: few requests move
  little. Two CUSUM sums per endpoint open the filter when the level has really changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controlplane.model.observation import Floats
from controlplane.model.queues import SERVERS, utilisation_of

HYPOTHESES = len(SERVERS)

# Rows of the table of an estimate, one column for each endpoint.
LEVEL = slice(0, HYPOTHESES)  # log capacity if the endpoint had SERVERS[k] servers
SAID = HYPOTHESES  # log capacity from the utilisation that the endpoint says
SAID_AGE = SAID + 1  # seconds since it last said so
VARIANCE = SAID + 2  # of the log capacity
CUSUM_UP, CUSUM_DOWN = SAID + 3, SAID + 4
BASE = SAID + 5  # log service time, as measured
LATENCY = slice(SAID + 6, SAID + 9)  # log latency, smoothed over LATENCY_HORIZONS_S
ERRORS = SAID + 9  # error ratio, smoothed
AGE = SAID + 10  # seconds since the last look that said something
DECLARED = SAID + 11  # declared capacity relative to the peers
UTILISATION = SAID + 12
CAPACITY = SAID + 13  # capacity in requests per second, after shrinkage
SERVICE = SAID + 14  # log service time, after the same shrinkage
ROWS = SAID + 15

# Entries of the vector that the endpoints of a service share.
EVIDENCE = slice(0, HYPOTHESES)  # log likelihood of each number of servers
DEMAND = HYPOTHESES  # requests/s that arrive, smoothed over DEMAND_FAST_S
DEMAND_SLOW = DEMAND + 1
IN_FLIGHT = DEMAND + 2  # all requests in flight at the last look
SCV = DEMAND + 3  # squared coefficient of variation of the service time
NOISE = DEMAND + 4  # how much noisier looks are than counting alone explains (variance)
SHARED = DEMAND + 5

LATENCY_HORIZONS_S = (2.0, 8.0, 30.0)
"""About the reaction time of the loop, of the guard's steps, and of a warm-up."""
ERRORS_S = 5.0
DEMAND_FAST_S = 2.0
DEMAND_SLOW_S = 15.0
SCV_S = 60.0
EVIDENCE_S = 300.0
SAID_FOR_S = 10.0
"""A utilisation that was said this long ago is given up for the inferred one."""

PRIOR_VARIANCE = 0.7**2
"""Log capacity of an endpoint of which nothing is known: within a factor 2 of its peers."""
DECLARED_VARIANCE = 0.25**2
"""The same where its capacity is declared: people are right within about a quarter."""
DRIFT_VARIANCE = 0.01**2
"""Per second: 1 % in a second, 8 % in a minute. Faster changes are the CUSUM's."""
MODEL_VARIANCE = 0.04**2
"""Of one look, however many requests it saw: the station model is no better than that."""
STEP_VARIANCE = 0.6**2
"""What a detected change adds: the next look replaces most of the belief."""
CUSUM_SLACK = 1.0
CUSUM_LIMIT = 6.0
CUSUM_CLIP = 5.0
"""In standard deviations. Normal noise passes the limit about once in e^(2 * 1 * 6) = 160,000
looks (Siegmund's approximation), that of a dozen requests a look about once in 10,000; one look
alone never does (5 - 1 < 6), two that agree do."""
SCV_PRIOR = 1.0
SAID_VARIANCE = 0.15**2
"""Of the log of a utilisation that was said: its window is not quite that of the look."""
GROSS, MOST = 9.0, 25.0
"""Squared standard deviations between which a misprediction is evidence."""
ALIKE = 0.5
"""Part of the endpoints of a service that must be mistaken in one direction to be so alike."""
LEAST_EVIDENCE = -8.0
"""Log likelihood below which no hypothesis falls (1 in 3,000), so that none is beyond return."""
EVIDENCE_WEIGHT = 0.25
"""Looks of one second at neighbouring endpoints are not independent; four count as one."""
LOG_PRIOR = -0.25 * np.log(np.array(SERVERS, dtype=np.float64))
"""Few servers are a little likelier. They make the service look busier and the split more
cautious, which is the cheap way to be wrong."""
SURE = 2.0
"""Endpoints differ where their spread is this many times what noise makes (95 % of samples of
eight alike endpoints are below)."""
DRAWN_MOST = 1.5
"""Standard deviations that a belief is drawn toward the peers at most, so that the one slow
endpoint among a hundred stays slow (limited translation: Efron and Morris 1972)."""
NOISE_GAIN = 0.1
"""Per second: with every surprise above the median, noise is ten times as much in 46 s."""
_MEDIAN_NORMAL = 0.6745
"""Half of standard normal deviates are larger, by absolute value."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one tick says, flat; NaN is unknown."""

    succeeded: Floats
    failed: Floats
    in_flight: Floats
    latency_s: Floats
    latency_p99_s: Floats
    samples: Floats
    utilisation: Floats
    age_s: Floats
    window_s: Floats
    """Of the endpoint's service."""
    dt_s: Floats
    """Seconds since the look before, of the endpoint's service."""

    @property
    def overlap(self) -> Floats:
        """How many looks share what each saw: windows of 5 s every second say all five times."""
        return np.maximum(1.0, self.window_s / self.dt_s)


@dataclass(frozen=True, slots=True)
class Segments:
    """Which of the flat endpoints belong to which service; no service is empty."""

    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    of: NDArray[np.intp]

    @classmethod
    def from_sizes(cls, sizes: NDArray[np.intp]) -> Segments:
        """Services of these sizes, one after the other."""
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        return cls(starts, sizes, np.repeat(np.arange(len(sizes)), sizes))

    def total(self, flat: Floats) -> Floats:
        """Summed over each service, along the last axis; NaN counts as 0."""
        return np.add.reduceat(np.nan_to_num(flat), self.starts, axis=-1)

    def mean(self, flat: Floats) -> Floats:
        """Mean of what is known in each service; NaN where nothing is."""
        count = np.add.reduceat(np.isfinite(flat).astype(np.float64), self.starts, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(count > 0, self.total(flat) / count, np.nan)


def fold(table: Floats, shared: Floats, look: Look, seg: Segments) -> tuple[Floats, Floats]:
    """(ROWS, n) and (SHARED, services) after one look."""
    with np.errstate(all="ignore"):
        new, common = table.copy(), shared.copy()
        look = _plausible(look)
        seen = _seen(look)
        _fold_latency(new, look, seen)
        _fold_errors(new, look, seen)
        _fold_service(common, look, seg, seen)
        _fold_capacity(new, common, look, seg, seen)
        new[AGE] = np.where(seen, 0.0, table[AGE] + look.dt_s)
        _conclude(new, common, seg)
    return new, common


def _plausible(look: Look) -> Look:
    """The look without numbers that cannot be: they are unknown, whoever sent them."""

    def within(values: Floats, low: float, high: float) -> Floats:
        return np.where((values >= low) & (values <= high), values, np.nan)

    return replace(
        look,
        succeeded=within(look.succeeded, 0.0, 1e9),
        failed=within(look.failed, 0.0, 1e9),
        in_flight=within(look.in_flight, 0.0, 1e7),
        latency_s=within(look.latency_s, 1e-6, 1e4),
        latency_p99_s=within(look.latency_p99_s, 1e-6, 1e4),
        samples=within(look.samples, 0.0, 1e9),
        utilisation=within(look.utilisation, 0.0, 100.0),
    )


def _seen(look: Look) -> NDArray[np.bool_]:
    """Endpoints whose numbers are of this window: the rest only grow older."""
    counted = np.isfinite(look.succeeded) & np.isfinite(look.failed)
    return np.asarray(counted & ~(look.age_s > 2.0 * look.window_s), dtype=np.bool_)


def _toward(old: Floats, new: Floats, gain: Floats | float) -> Floats:
    """An exponential average that begins at its first value and passes over unknown ones."""
    moved = np.where(np.isfinite(old), old + gain * (new - old), new)
    return np.where(np.isfinite(new), moved, old)


def _fold_latency(new: Floats, look: Look, seen: NDArray[np.bool_]) -> None:
    log_latency = np.where(seen & (look.samples > 0), np.log(look.latency_s), np.nan)
    for row, horizon_s in enumerate(LATENCY_HORIZONS_S):
        at = LATENCY.start + row
        new[at] = _toward(new[at], log_latency, -np.expm1(-look.dt_s / horizon_s))


def _fold_errors(new: Floats, look: Look, seen: NDArray[np.bool_]) -> None:
    ended = look.succeeded + look.failed
    # Who is sent nothing has been left out by the Envoys, which take its part of the share away
    # (`OVERPROVISIONED_GROUPS`): what it did before must not take it away a second time.
    idle = seen & (ended == 0) & ~(look.in_flight >= 1)
    ratio = np.where(seen & (ended > 0), look.failed / ended, np.where(idle, 0.0, np.nan))
    # One failed request of one is no ratio of 1: a look counts as much as it saw.
    counts = np.where(idle, 1.0, np.minimum(1.0, ended / 10.0))
    gain = -np.expm1(-look.dt_s / ERRORS_S) * counts
    new[ERRORS] = _toward(np.where(np.isfinite(new[ERRORS]), new[ERRORS], 0.0), ratio, gain)


def _fold_service(common: Floats, look: Look, seg: Segments, seen: NDArray[np.bool_]) -> None:
    known = seg.total(seen.astype(np.float64)) > 0
    dt_s, window_s = look.dt_s[seg.starts], look.window_s[seg.starts]
    ended = seg.total(np.where(seen, look.succeeded + look.failed, np.nan)) / window_s
    in_flight = np.where(known, seg.total(np.where(seen, look.in_flight, np.nan)), np.nan)
    # What arrives is what ends plus what piles up; completions alone hide an overload.
    piling = np.nan_to_num((in_flight - common[IN_FLIGHT]) / dt_s)
    demand = np.where(known, ended + np.maximum(piling, 0.0) * 0.5, np.nan)
    common[DEMAND] = _toward(common[DEMAND], demand, -np.expm1(-dt_s / DEMAND_FAST_S))
    common[DEMAND_SLOW] = _toward(common[DEMAND_SLOW], demand, -np.expm1(-dt_s / DEMAND_SLOW_S))
    common[IN_FLIGHT] = np.where(np.isfinite(in_flight), in_flight, common[IN_FLIGHT])
    # The tail of one look is short of samples, so it is read only where there are a hundred.
    spread = np.log(look.latency_p99_s / look.latency_s)
    enough = seen & (look.samples >= 100) & (spread > 0)
    spread = seg.mean(np.where(enough, spread, np.nan))
    # Lognormal: log(p99/mean) = 2.326 s - s^2/2, scv = e^(s^2) - 1.
    sigma = 2.326 - np.sqrt(np.maximum(2.326**2 - 2.0 * spread, 0.0))
    scv = np.clip(np.expm1(sigma**2), 0.1, 4.0)
    common[SCV] = _toward(common[SCV], scv, -np.expm1(-dt_s / SCV_S))


def _fold_capacity(
    new: Floats, common: Floats, look: Look, seg: Segments, seen: NDArray[np.bool_]
) -> None:
    scv = common[SCV][seg.of]
    in_flight, from_little = _in_flight(look, scv)
    log_rate = np.log(look.succeeded / look.window_s)
    log_busy, elasticity = utilisation_of(in_flight)
    levels = log_rate - log_busy
    belief = probabilities(common)[:, seg.of]

    said = np.where((look.utilisation > 0.01) & seen, look.utilisation, np.nan)
    has_said = np.isfinite(said) & np.isfinite(log_rate)
    new[SAID_AGE] = np.where(has_said, 0.0, new[SAID_AGE] + look.dt_s)
    says = log_rate - np.log(np.minimum(said, 1.0))

    usable = seen & np.isfinite(levels).all(axis=0)
    inferred = (belief * levels).sum(axis=0)
    before = (belief * new[LEVEL]).sum(axis=0)
    surprise = np.where(has_said & np.isfinite(new[SAID]), says - new[SAID], inferred - before)
    usable |= has_said

    louder = common[NOISE][seg.of] * look.overlap
    each = _noise(look, scv, elasticity, from_little) * louder + MODEL_VARIANCE
    of_said = _noise(look, scv, 0.0, from_little) * louder + MODEL_VARIANCE
    noise = np.where(has_said, of_said, (belief * each).sum(axis=0))

    variance = new[VARIANCE] + DRIFT_VARIANCE * look.dt_s
    z = surprise / np.sqrt(variance + noise)
    z = np.where(usable & np.isfinite(z), z, 0.0)
    _fold_noise(common, z, usable, seg, look)
    against = np.where(has_said, np.log(said) - log_busy, np.nan)
    error = np.where(usable, levels - new[LEVEL], np.nan)
    _fold_evidence(common, error / np.sqrt(new[VARIANCE] + each), against, each, seg, look)

    clipped = np.clip(z, -CUSUM_CLIP, CUSUM_CLIP)
    for row, sign in ((CUSUM_UP, 1.0), (CUSUM_DOWN, -1.0)):
        new[row] = np.maximum(0.0, new[row] + np.where(usable, sign * clipped - CUSUM_SLACK, 0.0))
    changed = (new[CUSUM_UP] > CUSUM_LIMIT) | (new[CUSUM_DOWN] > CUSUM_LIMIT)
    new[CUSUM_UP : CUSUM_DOWN + 1, changed] = 0.0
    variance = np.minimum(variance + np.where(changed, STEP_VARIANCE, 0.0), 4.0 * PRIOR_VARIANCE)

    gain = np.where(usable, variance / (variance + noise), 0.0)
    # One look that is far out may be a pause; it counts as two deviations until another agrees.
    gain = gain * np.where(changed | (np.abs(z) <= 2.0), 1.0, 2.0 / np.maximum(np.abs(z), 1e-9))
    new[LEVEL] = _toward(new[LEVEL], np.where(usable, levels, np.nan), gain)
    new[SAID] = _toward(new[SAID], np.where(usable, says, np.nan), gain)
    new[VARIANCE] = np.where(usable, variance * (1.0 - gain), variance)
    new[UTILISATION] = np.where(
        usable, np.where(has_said, said, np.exp((belief * log_busy).sum(axis=0))), new[UTILISATION]
    )
    # The wait taken out of the latency: L = m rho (1 + Q) and T = S (1 + Q), so S = T m rho / L.
    log_servers = (belief * np.log(np.array(SERVERS, dtype=np.float64))[:, None]).sum(axis=0)
    waiting = np.log(in_flight) - log_servers - (belief * log_busy).sum(axis=0)
    latency = np.where(look.samples > 0, np.log(look.latency_s), np.log(in_flight) - log_rate)
    base = np.where(usable, latency - np.maximum(waiting, 0.0), np.nan)
    new[BASE] = _toward(new[BASE], base, gain)


def _in_flight(look: Look, scv: Floats) -> tuple[Floats, Floats]:
    """Mean requests in flight, from their count and from Little's law, by how sure each is.

    Reports count requests at an instant (a Poisson-like number: relative variance 1/L); rate
    times latency averages over the window but lags behind when work piles up. The second answer
    is the part that came from Little's law.
    """
    little = (look.succeeded + look.failed) / look.window_s * look.latency_s
    for_little = np.where(little > 0, look.samples / (1.0 + scv), 0.0)
    for_count = np.where(look.in_flight > 0, look.in_flight, 0.0)
    total = for_little + for_count
    logs = np.nan_to_num(np.log(little)) * for_little
    logs = logs + np.nan_to_num(np.log(look.in_flight)) * for_count
    some = total > 0
    return np.where(some, np.exp(logs / total), np.nan), np.where(some, for_little / total, 0.0)


def _noise(look: Look, scv: Floats, elasticity: Floats | float, from_little: Floats) -> Floats:
    """Variance of log X - elasticity log L by counting alone; L = (X T)^f (count)^(1 - f)."""
    by_time, by_count = elasticity * from_little, elasticity * (1.0 - from_little)
    ended = np.maximum(look.succeeded, 1.0)
    samples = np.where(look.samples > 0, look.samples, ended)
    variance = (1.0 - by_time) ** 2 / ended + by_time**2 * scv / samples
    here = np.where(look.in_flight > 0, look.in_flight, 1.0)
    return np.asarray(variance + by_count**2 / here, dtype=np.float64)


def _fold_noise(
    common: Floats, z: Floats, usable: NDArray[np.bool_], seg: Segments, look: Look
) -> None:
    """Follow how large surprises really are, so that the deadband is as wide as the noise.

    By their median, found by sign (Robbins and Monro 1951): the endpoints of a service that change
    their speed are few or soon done with it, and must not make all others look noisy.
    """
    larger = np.where(usable, (np.abs(z) > _MEDIAN_NORMAL).astype(np.float64), np.nan)
    above = seg.mean(larger) - 0.5
    move = NOISE_GAIN * look.dt_s[seg.starts] * np.where(np.isfinite(above), above, 0.0)
    common[NOISE] = np.clip(common[NOISE] * np.exp(move), 1.0, 10.0)


def _fold_evidence(
    common: Floats, surprise: Floats, against: Floats, variance: Floats, seg: Segments, look: Look
) -> None:
    """Weigh the numbers of servers against each other.

    Where endpoints say how busy they are, by how each hypothesis mistook that. Everywhere by
    gross mispredictions of its own level: too many servers predict a capacity that an overload
    shows not to be there. Small ones prove nothing, as noise in the latency moves the number in
    flight with it. Very large ones are an endpoint whose speed has changed, under any hypothesis,
    unless most endpoints are mistaken alike, which a load common to all explains better.
    """
    lie = np.minimum(against * against / (variance + SAID_VARIANCE), 9.0)
    square = surprise * surprise
    gross = np.clip(square, GROSS, MOST) - GROSS
    mistaken = np.where(np.isfinite(square), np.sign(surprise) * (gross > 0.0), np.nan)
    alike = np.abs(np.nan_to_num(seg.mean(mistaken)))[:, seg.of] > ALIKE
    another_speed = (np.nan_to_num(square) > MOST).any(axis=0)
    gross = np.where(another_speed & ~alike, 0.0, gross)
    loss = np.nan_to_num(lie) + np.nan_to_num(gross)
    keep = np.exp(-look.dt_s[seg.starts] / EVIDENCE_S)
    evidence = common[EVIDENCE] * keep - 0.5 * EVIDENCE_WEIGHT * seg.total(loss)
    common[EVIDENCE] = np.maximum(evidence - evidence.max(axis=0), LEAST_EVIDENCE)


def probabilities(common: Floats) -> Floats:
    """(k, services) how likely each number of servers is."""
    score = common[EVIDENCE] + LOG_PRIOR[:, None]
    odds = np.exp(score - score.max(axis=0))
    return np.asarray(odds / odds.sum(axis=0), dtype=np.float64)


def busier(table: Floats, common: Floats, seg: Segments) -> Floats:
    """(services,) mean load over what is believed of the servers, over the load at the mean.

    At least 1. How many servers an endpoint has is a guess until it is said or an overload was
    seen, and a capacity is the mean of its logarithm over all guesses. A load goes by 1/capacity:
    its mean is higher, by as much as the guesses differ, and too low a load floods the fast. It
    fades with the part of the endpoints that say how busy they are.
    """
    with np.errstate(all="ignore"):
        said = np.add.reduceat((table[SAID_AGE] <= SAID_FOR_S).astype(np.float64), seg.starts)
        levels = table[LEVEL]
        looked = np.add.reduceat(np.isfinite(levels[0]).astype(np.float64), seg.starts)
        level = np.add.reduceat(np.nan_to_num(levels), seg.starts, axis=-1) / looked
        belief = probabilities(common)
        ratio = np.exp((belief * level).sum(axis=0) - level)
        load = common[DEMAND] / seg.total(table[CAPACITY])
        most = np.maximum(1.0 / load, 1.0)  # no guess makes it more than full
        mean = (belief * np.minimum(ratio, most)).sum(axis=0)
        above = np.where(np.isfinite(mean), np.maximum(mean, 1.0) - 1.0, 0.0)
    return np.asarray(1.0 + above * (1.0 - said / seg.sizes), dtype=np.float64)


def _conclude(new: Floats, common: Floats, seg: Segments) -> None:
    """Turn the levels into one capacity, drawn toward the peers as far as noise explains it.

    Empirical Bayes (James and Stein 1961; Efron and Morris 1973): where endpoints differ by no
    more than their uncertainty, they are taken to be equal. Declared differences are kept.
    """
    belief = probabilities(common)[:, seg.of]
    level = np.where(
        (new[SAID_AGE] <= SAID_FOR_S) & np.isfinite(new[SAID]),
        new[SAID],
        (belief * new[LEVEL]).sum(axis=0),
    )
    declared = np.log(np.where(new[DECLARED] > 0, new[DECLARED], np.nan))
    declared = declared - seg.mean(declared)[seg.of]
    declared = np.where(np.isfinite(declared), declared, 0.0)
    relative = level - declared
    weight = np.where(np.isfinite(relative), 1.0 / new[VARIANCE], 0.0)
    sums = np.maximum(seg.total(weight), 1e-12)
    centre = seg.total(weight * relative) / sums
    off = relative - centre[seg.of]
    known = np.isfinite(off)
    count = np.maximum(seg.total(known.astype(np.float64)) - 1.0, 1.0)
    spread = seg.total(np.where(known, off * off - SURE * new[VARIANCE], 0.0)) / count
    real = np.maximum(spread, 0.0)[seg.of]
    drop = off * new[VARIANCE] / (real + new[VARIANCE])
    most = DRAWN_MOST * np.sqrt(new[VARIANCE])
    kept = off - np.clip(drop, -most, most)
    drawn = centre[seg.of] + kept + declared
    # An endpoint never looked at is one of its peers. Of a service never looked at nothing is.
    drawn = np.where(known, drawn, centre[seg.of] + declared)
    anything = seg.total(known.astype(np.float64)) > 0
    new[CAPACITY] = np.where(anything[seg.of], np.exp(drawn), np.nan)
    typical = seg.mean(new[BASE])[seg.of]
    part = np.where(known & (np.abs(off) > 1e-9), kept / off, 0.0)
    own = np.where(np.isfinite(new[BASE]), new[BASE] - typical, 0.0)
    new[SERVICE] = typical + part * own
