"""What the receivers counted of the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Receipts:
    """Counters since the start; exposed by `exposition`."""

    log_entries: int = 0
    """Access log entries read."""
    unknown_entries: int = 0
    """Of them, those of a cluster or an endpoint that is not declared."""
    aborted_entries: int = 0
    """Of them, those that the client left before the end: neither success nor failure."""
    untimed_entries: int = 0
    """Of them, successes without the durations that a latency needs."""
    load_reports: int = 0
    """Load reports read."""
    unknown_clusters: int = 0
    """Clusters in load reports that are not declared."""
    unknown_endpoints: int = 0
    """Endpoints in load reports that their service does not declare."""
    impossible_counts: int = 0
    """Endpoints in load reports whose counts cannot be true."""
    garbage: int = 0
    """Messages that could not be read."""
