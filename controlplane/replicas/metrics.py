"""Metrics of replicas among themselves."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ReplicaMetrics:
    """One registry, no globals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.role = Gauge(
            "weir_replica_role",
            "1 for what this replica does: it decides, gathers (it is about to), follows the one "
            "that decides, or holds (nobody that decides can be reached).",
            ["role"],
            registry=registry,
        )
        self.epoch = Gauge(
            "weir_replica_epoch", "The epoch of whoever decides, as known here.", registry=registry
        )
        self.followers = Gauge(
            "weir_replica_followers", "Replicas that follow this one.", registry=registry
        )
        self.handed = Counter(
            "weir_replica_handed_reports",
            "Reports of Envoys that were handed to the replica that decides.",
            registry=registry,
        )
        self.kept = Counter(
            "weir_replica_kept_reports",
            "Reports of Envoys that were not handed on, as too much waited; they are counted here.",
            registry=registry,
        )
        self.unreadable = Counter(
            "weir_replica_unreadable_reports",
            "Reports of Envoys that a replica handed on and that could not be read.",
            registry=registry,
        )
        self.ended = Counter(
            "weir_replica_streams_ended",
            "Streams between replicas that ended, by reason.",
            ["reason"],
            registry=registry,
        )
