"""What was decided about each service last, read from the loop when somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.model import Grouping, Proposal, Verdict
from controlplane.model.observation import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Balanced:
    """The last decision about a service and what the guard made of it."""

    verdict: Verdict
    proposal: Proposal
    grouping: Grouping
    """Of the proposal."""


class ServiceCollector(Collector):
    """A few series for each service and one for each of its groups."""

    def __init__(self, balanced: Callable[[], Iterable[Balanced]]) -> None:
        self._balanced = balanced

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of the document."""
        share = GaugeMetricFamily(
            "weir_service_share",
            "Share of the requests that a group of endpoints is to get: what is in force.",
            labels=("service", "group"),
        )
        policy = GaugeMetricFamily(
            "weir_service_policy",
            "1: the policy whose proposal the guard saw last.",
            labels=("service", "policy"),
        )
        reason = GaugeMetricFamily(
            "weir_service_reason",
            "1: a reason of the last decision.",
            labels=("service", "code"),
        )
        moved = GaugeMetricFamily(
            "weir_service_moved_share",
            "Share of the requests that the learned policy moves against its base, and that the "
            "guard moves against the proposal.",
            labels=("service", "by"),
        )
        for one in self._balanced():
            name = str(one.verdict.service.name)
            for group, part in zip(
                one.verdict.grouping.names, one.verdict.shares.tolist(), strict=True
            ):
                share.add_metric((name, group), part)
            policy.add_metric((name, one.proposal.policy), 1.0)
            for code in sorted({each.code for each in one.verdict.reasons}):
                reason.add_metric((name, code), 1.0)
            if one.proposal.base is not None:
                moved.add_metric((name, "policy"), _moved(one.proposal.base, one.proposal.shares))
            if one.grouping.same_as(one.verdict.grouping):
                moved.add_metric((name, "guard"), _moved(one.proposal.shares, one.verdict.shares))
        yield from (share, policy, reason, moved)


def _moved(before: Floats, after: Floats) -> float:
    """Total variation distance of two vectors of shares: the part that goes elsewhere."""
    return float(0.5 * np.abs(before / before.sum() - after / after.sum()).sum())
