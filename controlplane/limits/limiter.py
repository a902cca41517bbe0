"""The rate limit service without its transport: a RateLimitRequest in, a RateLimitResponse out.

The first entry of a descriptor names the rule; what follows is whose requests are counted together.
A rule that is not declared (or not yet) is answered as its domain wants: let through, or not.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import DecodeError

from controlplane._pb import rate_limit_pb2 as pb
from controlplane.errors import RateLimitError, StoreError
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import Rule
from controlplane.limits.windows import Counters, Take, allowed
from controlplane.resources.rate_limit import AFTER, CLOSED, RULE

MAX_DESCRIPTORS = 64
LINGER_S = 600.0
"""How long a rule that is declared no more is known."""
_LONGEST = 200
"""Bytes of a counter's name; of a longer one a digest stands in for it."""

_OK = pb.RateLimitResponse.OK
_OVER = pb.RateLimitResponse.OVER_LIMIT
_UNITS = {
    1: pb.RateLimitResponse.RateLimit.SECOND,
    60: pb.RateLimitResponse.RateLimit.MINUTE,
    3600: pb.RateLimitResponse.RateLimit.HOUR,
    86400: pb.RateLimitResponse.RateLimit.DAY,
}


class Limiter:
    """Decides about requests."""

    def __init__(
        self,
        counters: Counters,
        metrics: LimitMetrics,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._rules: Mapping[str, Rule] = {}
        self._gone: Mapping[str, tuple[Rule, float]] = {}
        """Rules that are declared no more, and since when."""
        self._told: Mapping[str, pb.RateLimitResponse.RateLimit] = {}

    def know(self, rules: Mapping[str, Rule]) -> None:
        """These rules are in force. Counters go on where their rules do.

        Rules that are declared no more are known for a while: Envoys ask about them until they have
        taken the routes without them, which a push in stages keeps from them on purpose.
        """
        now_s = self._wall_clock()
        gone = {key: (one, now_s) for key, one in self._rules.items() if key not in rules}
        self._gone = {
            key: kept
            for key, kept in {**gone, **self._gone}.items()
            if key not in rules and now_s - kept[1] < LINGER_S
        }
        self._rules = {**{key: one for key, (one, _) in self._gone.items()}, **rules}
        self._told = {
            key: pb.RateLimitResponse.RateLimit(
                requests_per_unit=one.requests, unit=_UNITS[one.unit_s]
            )
            for key, one in self._rules.items()
        }
        self._metrics.know(self._rules)

    async def decide(self, request: bytes) -> bytes:
        """Answer a serialised RateLimitRequest. Raises `RateLimitError` when it is none."""
        began_s = time.perf_counter()
        try:
            asked = pb.RateLimitRequest.FromString(request)
        except DecodeError as error:
            raise RateLimitError(f"not a RateLimitRequest: {error}") from error
        if len(asked.descriptors) > MAX_DESCRIPTORS:
            raise RateLimitError(
                f"{len(asked.descriptors)} descriptors, at most {MAX_DESCRIPTORS} at a time"
            )
        wanted = [self._wanted(asked, one) for one in asked.descriptors]
        answer = pb.RateLimitResponse(overall_code=_OK)
        await self._count(wanted, asked.domain == CLOSED, answer)
        self._metrics.seconds.observe(time.perf_counter() - began_s)
        return answer.SerializeToString()

    def _wanted(
        self, asked: pb.RateLimitRequest, descriptor: pb.RateLimitDescriptor
    ) -> tuple[Rule, Take] | None:
        """What is to be counted where; None: the rule is not known."""
        entries = descriptor.entries
        if not entries or entries[0].key != RULE:
            return None
        rule = self._rules.get(entries[0].value.decode(errors="replace"))
        if rule is None:
            return None
        after = entries[-1].key == AFTER
        parts = [one.value for one in (entries[:-1] if after else entries)]
        if descriptor.HasField("hits_addend"):
            hits = descriptor.hits_addend.value
        else:
            hits = asked.hits_addend or 1
        take = Take(
            _short(b"\0".join(parts)),
            min(hits, 2**31),
            rule.requests,
            rule.unit_s,
            rule.sliding,
            forced=rule.shadow or after,
        )
        return rule, take

    async def _count(
        self,
        wanted: Sequence[tuple[Rule, Take] | None],
        closed: bool,
        answer: pb.RateLimitResponse,
    ) -> None:
        now_s = self._wall_clock()
        takes = [one[1] for one in wanted if one is not None]
        used: Sequence[float] | None = ()
        if takes:
            try:
                used = await self._counters.take(takes, now_s)
            except StoreError:
                self._metrics.failures.inc()
                used = None
        taken = used is not None and allowed(takes, used)
        before = iter(used or ())
        for one in wanted:
            if one is None or used is None:
                shut = closed if one is None else one[0].closed and not one[0].shadow
                self._failed(answer, one[0].key if one is not None else "", closed=shut)
            else:
                self._counted(answer, *one, next(before), taken, now_s)

    def _failed(self, answer: pb.RateLimitResponse, rule: str, *, closed: bool) -> None:
        answer.statuses.add(code=_OVER if closed else _OK)
        if closed:
            answer.overall_code = _OVER
        self._metrics.decided(rule, "failed_closed" if closed else "failed_open")

    def _counted(
        self,
        answer: pb.RateLimitResponse,
        rule: Rule,
        take: Take,
        used: float,
        taken: bool,
        now_s: float,
    ) -> None:
        fits = take.fits(used)
        if take.forced:
            # Clients are told nothing of limits that do not bind them.
            answer.statuses.add(code=_OK)
            self._metrics.decided(
                rule.key, "shadow_over_limit" if rule.shadow and not fits else "ok"
            )
            return
        left = rule.requests - used - (take.hits if taken else 0)
        reset_s = math.ceil(take.reset_s(now_s))
        status = answer.statuses.add(
            code=_OK if fits else _OVER, limit_remaining=max(math.floor(left), 0)
        )
        status.current_limit.CopyFrom(self._told[rule.key])
        status.duration_until_reset.seconds = reset_s
        if not fits:
            answer.overall_code = _OVER
            if not answer.response_headers_to_add:
                answer.response_headers_to_add.add(key="retry-after", value=str(reset_s))
        self._metrics.decided(rule.key, "ok" if fits else "over_limit")


def _short(name: bytes) -> bytes:
    """What a client may choose is bounded."""
    return name if len(name) <= _LONGEST else hashlib.blake2b(name, digest_size=16).digest()
