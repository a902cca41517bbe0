"""The rate limit service without Envoy: what is asked, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controlplane._pb import rate_limit_pb2 as pb
from controlplane.errors import RateLimitError, StoreError
from controlplane.limits.limiter import LINGER_S, MAX_DESCRIPTORS, Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import MOST_RULES, LimitMetrics
from controlplane.limits.rules import Rule, rules
from controlplane.resources.rate_limit import AFTER, CLOSED, OPEN, ROUTE, RULE
from tests.unit.resources.documents import read

OK, OVER = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT
NOON_S = 43_200.0


class Away:
    async def take(self, *_: object) -> list[float]:
        raise StoreError("away")


@dataclass
class Asked:
    """A limiter with a clock of ours."""

    rules: dict[str, Rule]
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    counters: MemoryCounters | Away = field(default_factory=MemoryCounters)
    now_s: float = NOON_S
    limiter: Limiter = field(init=False)

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.counters, LimitMetrics(self.registry), lambda: self.now_s)
        self.limiter.know(self.rules)

    async def ask(
        self, *descriptors: dict[str, str], hits: int | None = None, domain: str = OPEN
    ) -> pb.RateLimitResponse:
        asked = pb.RateLimitRequest(domain=domain)
        for entries in descriptors:
            one = asked.descriptors.add()
            for key, value in entries.items():
                one.entries.add(key=key, value=value.encode())
            if hits is not None:
                one.hits_addend.value = hits
        answer = await self.limiter.decide(asked.SerializeToString())
        return pb.RateLimitResponse.FromString(answer)

    async def codes(self, times: int, *descriptors: dict[str, str], hits: int = 1) -> list[int]:
        return [(await self.ask(*descriptors, hits=hits)).overall_code for _ in range(times)]

    def counted(self, rule: str, outcome: str) -> float | None:
        name = "weir_rate_limit_decisions_total"
        return self.registry.get_sample_value(name, {"rule": rule, "outcome": outcome})


def rule(key: str = "a/b/0", requests: int = 2, unit_s: int = 60, **fields: Any) -> Rule:  # noqa: ANN401
    return Rule(key, requests, unit_s, **fields)


def only(one: Rule, **fields: Any) -> Asked:  # noqa: ANN401
    return Asked({one.key: one}, **fields)


ONE = {RULE: "a/b/0"}


async def test_a_fixed_window_begins_anew() -> None:
    it = only(rule())
    assert await it.codes(3, ONE) == [OK, OK, OVER]
    it.now_s += 59.9
    assert await it.codes(1, ONE) == [OVER]
    it.now_s += 0.1
    assert await it.codes(3, ONE) == [OK, OK, OVER]


async def test_a_sliding_window_forgets_gradually_and_refusals_take_nothing() -> None:
    it = only(rule(requests=10, sliding=True))
    assert await it.codes(30, ONE) == [OK] * 10 + [OVER] * 20
    it.now_s += 60.0
    assert await it.codes(1, ONE) == [OVER]
    it.now_s += 30.0  # half of the ten still counts
    assert await it.codes(7, ONE) == [OK] * 5 + [OVER] * 2
    it.now_s += 120.0
    assert await it.codes(11, ONE) == [OK] * 10 + [OVER]


async def test_the_answer_tells_of_the_limit() -> None:
    it = only(rule(requests=5))
    it.now_s += 45.5
    (status,) = (await it.ask(ONE, hits=2)).statuses
    assert (status.code, status.limit_remaining) == (OK, 3)
    assert status.current_limit.requests_per_unit == 5
    assert status.current_limit.unit == pb.RateLimitResponse.RateLimit.MINUTE
    assert status.duration_until_reset.seconds == 15
    refused = await it.ask(ONE, hits=4)
    assert (refused.overall_code, refused.statuses[0].limit_remaining) == (OVER, 3)
    assert [(one.key, one.value) for one in refused.response_headers_to_add] == [
        ("retry-after", "15")
    ]


async def test_hits_come_from_the_descriptor_then_from_the_question_then_are_one() -> None:
    it = only(rule(requests=100))
    asked = pb.RateLimitRequest(domain=OPEN, hits_addend=7)
    asked.descriptors.add().entries.add(key=RULE, value=b"a/b/0")
    answer = pb.RateLimitResponse.FromString(await it.limiter.decide(asked.SerializeToString()))
    assert answer.statuses[0].limit_remaining == 93
    assert (await it.ask(ONE, hits=3)).statuses[0].limit_remaining == 90
    assert (await it.ask(ONE)).statuses[0].limit_remaining == 89
    assert (await it.ask(ONE, hits=0)).statuses[0].limit_remaining == 89


async def test_nothing_is_taken_and_still_refused_where_there_is_no_room_for_one() -> None:
    it = only(rule(requests=2))
    assert await it.codes(5, ONE, hits=0) == [OK] * 5
    assert await it.codes(2, ONE) == [OK, OK]
    assert await it.codes(1, ONE, hits=0) == [OVER]


async def test_what_a_response_cost_is_taken_beyond_the_limit() -> None:
    it = only(rule(requests=10))
    assert await it.codes(2, {**ONE, AFTER: "1"}, hits=9) == [OK, OK]
    assert await it.codes(1, ONE) == [OVER]
    assert it.counted("a/b/0", "shadow_over_limit") is None


async def test_a_refused_request_takes_nothing_of_its_other_rules() -> None:
    small, large = rule("a/b/0", 1), rule("a/b/1", 10)
    it = Asked({one.key: one for one in (small, large)})
    both = (ONE, {RULE: "a/b/1"})
    assert await it.codes(3, *both) == [OK, OVER, OVER]
    assert (await it.ask({RULE: "a/b/1"})).statuses[0].limit_remaining == 8


async def test_shadow_mode_counts_and_neither_refuses_nor_tells() -> None:
    it = only(rule(requests=1, shadow=True))
    assert await it.codes(3, ONE) == [OK] * 3
    assert it.counted("a/b/0", "shadow_over_limit") == 2.0
    assert not (await it.ask(ONE)).statuses[0].HasField("current_limit")


async def test_what_follows_the_rule_counts_apart() -> None:
    it = only(rule(requests=1))
    long = "x" * 10_000
    for who in ({ROUTE: "1"}, {ROUTE: "2"}, {ROUTE: "1", "x-user": long}, {"x-user": f"{long}y"}):
        assert await it.codes(2, {**ONE, **who}) == [OK, OVER]


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
@pytest.mark.parametrize("asked", [{RULE: "not/declared/0"}, {"x": "y"}, {}])
async def test_what_is_not_known_is_answered_by_the_domain(
    domain: str, asked: dict[str, str]
) -> None:
    it = only(rule())
    answer = await it.ask(asked, domain=domain)
    assert answer.overall_code == (OVER if domain == CLOSED else OK)
    assert it.counted("other", f"failed_{'closed' if domain == CLOSED else 'open'}") == 1.0


@pytest.mark.parametrize(
    ("fields", "code"),
    [({}, OK), ({"closed": True}, OVER), ({"closed": True, "shadow": True}, OK)],
)
async def test_without_counters_each_rule_has_its_answer(fields: dict[str, Any], code: int) -> None:
    it = only(rule(**fields), counters=Away())
    assert (await it.ask(ONE)).overall_code == code
    assert it.registry.get_sample_value("weir_rate_limit_store_failures_total") == 1.0


async def test_what_is_no_question_is_refused() -> None:
    it = only(rule())
    with pytest.raises(RateLimitError, match="not a RateLimitRequest"):
        await it.limiter.decide(b"\xff\xff")
    with pytest.raises(RateLimitError, match="descriptors"):
        await it.ask(*[ONE] * (MAX_DESCRIPTORS + 1))


async def test_counters_are_bounded_and_the_oldest_make_room() -> None:
    memory = MemoryCounters(most=2)
    it = only(rule(requests=1), counters=memory)
    for user in ("a", "b", "a", "c"):
        await it.ask({**ONE, "x-user": user})
    assert (len(memory), memory.evicted) == (2, 1)
    assert await it.codes(1, {**ONE, "x-user": "a"}) == [OVER]  # it was asked for after b
    assert await it.codes(1, {**ONE, "x-user": "b"}) == [OK]


async def test_a_clock_that_is_set_back_gives_nobody_more() -> None:
    it = only(rule(requests=1))
    await it.ask(ONE)
    it.now_s -= 600.0
    assert await it.codes(1, ONE) == [OVER]


async def test_labels_are_bounded_and_go_with_their_rules() -> None:
    many = {f"r/{i:04}/0": rule(f"r/{i:04}/0", 100) for i in range(MOST_RULES + 5)}
    it = Asked(many)
    for key in many:
        await it.ask({RULE: key})
    assert it.counted("other", "ok") == 5.0
    assert it.counted("r/0001/0", "ok") == 1.0
    it.limiter.know({})
    assert it.counted("r/0001/0", "ok") == 1.0
    it.now_s += LINGER_S
    it.limiter.know({})
    assert it.counted("r/0001/0", "ok") is None


async def test_a_rule_that_is_taken_away_is_known_until_envoys_have_heard() -> None:
    it = only(rule(requests=1, unit_s=3600, closed=True))
    assert await it.codes(1, ONE) == [OK]
    for passed_s, codes in ((0.0, [OVER]), (LINGER_S - 1.0, [OVER])):
        it.now_s += passed_s
        it.limiter.know({"another/one/0": rule("another/one/0")})
        assert [one.code for one in (await it.ask(ONE)).statuses] == codes
        assert it.counted("a/b/0", "over_limit") is not None
    it.now_s += 1.0
    it.limiter.know({})
    assert (await it.ask(ONE)).overall_code == OK  # of the open domain, and not counted
    assert it.counted("a/b/0", "over_limit") is None


def test_rules_come_from_every_policy() -> None:
    text = """
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: p, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  rateLimit:
    global:
      rules:
        - limit: {requests: 10, unit: Second}
        - limit: {requests: 9, unit: Day, window: Sliding}
          shadowMode: true
          failClosed: true
"""
    assert rules(read({"p.yaml": text}).declared) == {
        "shop/p/0": Rule("shop/p/0", 10, 1),
        "shop/p/1": Rule("shop/p/1", 9, 86400, sliding=True, shadow=True, closed=True),
    }
