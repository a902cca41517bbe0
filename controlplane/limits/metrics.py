"""What the rate limit service has on /metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

MOST_RULES = 500
"""Rules that have labels of their own; more are `other`."""
_BUCKETS_S = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1)


class LimitMetrics(Collector):
    """One registry, no globals. Decisions are counted in plain numbers, and read when asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self._decided: dict[tuple[str, str], int] = {}
        registry.register(self)

    def know(self, rules: Collection[str]) -> None:
        """These rules are declared. What was counted of others is forgotten."""
        self._decided = {
            key: count for key, count in self._decided.items() if key[0] in rules or not key[0]
        }

    def decided(self, rule: str, outcome: str) -> None:
        """Count one, of a rule that is declared, or of none."""
        key = (rule, outcome)
        self._decided[key] = self._decided.get(key, 0) + 1

    def describe(self) -> Iterator[Metric]:
        """Nothing is read while registering."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """As of now."""
        family = CounterMetricFamily(
            "weir_rate_limit_decisions",
            "Decisions about requests, by rule and by what came of it; rule `other`: of those that "
            "have no label, and of rules that are not declared.",
            labels=("rule", "outcome"),
        )
        named = frozenset(sorted({rule for rule, _ in self._decided if rule})[:MOST_RULES])
        counts: dict[tuple[str, str], int] = {}
        for (rule, outcome), count in self._decided.items():
            shown = (rule if rule in named else "other", outcome)
            counts[shown] = counts.get(shown, 0) + count
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family
