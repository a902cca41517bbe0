"""What the rate limit service has on /metrics."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OUTCOMES = ("ok", "over_limit", "shadow_over_limit", "failed_open", "failed_closed")
MOST_RULES = 500
"""Rules that have labels of their own; more are `other`."""
_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)


class LimitMetrics:
    """One registry, no globals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "weir_rate_limit_decisions_total",
            "Decisions about requests, by rule and by what came of it; rule `other`: of those that "
            "have no label, outcome only: rules that are not declared.",
            ["rule", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "weir_rate_limit_decision_seconds",
            "Time that the decision about a request took, all of its rules together.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.counters = Gauge(
            "weir_rate_limit_counters", "Counters held in memory.", registry=registry
        )
        self.evicted = Gauge(
            "weir_rate_limit_evicted_counters",
            "Counters that made room for others since the start: their clients begin anew.",
            registry=registry,
        )
        self.failures = Counter(
            "weir_rate_limit_store_failures_total",
            "Decisions for which the counters could not be had.",
            registry=registry,
        )
        self._children: dict[tuple[str, str], Counter] = {}
        self._rules: frozenset[str] = frozenset()

    def know(self, rules: Collection[str]) -> None:
        """These rules are declared; the first by name have labels."""
        named = frozenset(sorted(rules)[:MOST_RULES])
        for gone in self._rules - named:
            for outcome in OUTCOMES:
                if self._children.pop((gone, outcome), None) is not None:
                    self._decisions.remove(gone, outcome)
        self._rules = named

    def decided(self, rule: str, outcome: str) -> None:
        """Count one."""
        child = self._children.get((rule, outcome))
        if child is None:
            named = rule if rule in self._rules else "other"
            child = self._decisions.labels(named, outcome)
            if named == rule:
                self._children[rule, outcome] = child
        child.inc()
