"""Metrics of the loop itself. Those of the traffic are in `observe`, those of xDS in `xds`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.telemetry.version import version

STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopMetrics:
    """Counters, gauges and histograms that the loop writes; one registry, no globals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stage_seconds = Histogram(
            "weir_tick_stage_seconds",
            "Time that a stage of one tick took, for all services that were due.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )
        self.decided = Counter(
            "weir_services_decided_total",
            "Services that a tick decided about, by the policy whose proposal the guard saw.",
            ["policy"],
            registry=registry,
        )
        self.changed = Counter(
            "weir_weights_changed_total",
            "Verdicts that changed the weights in force.",
            registry=registry,
        )
        self.reasons = Counter(
            "weir_guard_reasons_total",
            "Reasons given by the guard and the decider, by their code.",
            ["code"],
            registry=registry,
        )
        self.source_failures = Counter(
            "weir_source_failures_total",
            "Looks at the source of metrics that failed, by kind.",
            ["kind"],
            registry=registry,
        )
        self.store_failures = Counter(
            "weir_store_failures_total",
            "Saves of the last good state that failed or came too late.",
            registry=registry,
        )
        self.missed = Counter(
            "weir_decisions_missed_total",
            "Times that a service was due while the loop was still busy, and was passed over.",
            registry=registry,
        )
        self.store_waiting = Gauge(
            "weir_store_waiting_services",
            "Services whose newest state is not saved yet.",
            registry=registry,
        )
        self.store_dropped = Gauge(
            "weir_store_dropped_states",
            "States that were given up since the start: the store hung and too many waited.",
            registry=registry,
        )
        self.decisions_written = Gauge(
            "weir_decision_log_written_records",
            "Decisions that were written into the log of decisions since the start.",
            registry=registry,
        )
        self.decisions_dropped = Gauge(
            "weir_decision_log_dropped_records",
            "Decisions that are not in that log, because it could not be written or was too slow.",
            registry=registry,
        )
        self.decisions_failures = Gauge(
            "weir_decision_log_failures",
            "Attempts to write that log that failed since the start.",
            registry=registry,
        )
        self.services = Gauge("weir_services", "Services that are declared.", registry=registry)
        self.frozen = Gauge(
            "weir_frozen", "1 while the kill switch holds every service.", registry=registry
        )
        self.problems = Gauge(
            "weir_configuration_problems",
            "Problems in the declared documents; the last valid ones are in force.",
            registry=registry,
        )
        build = Gauge(
            "weir_build_info", "1, labelled with the version.", ["version"], registry=registry
        )
        build.labels(version()).set(1)
