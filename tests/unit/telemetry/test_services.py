"""What a scrape tells of each service: shares in force, who decided, who moved what."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from controlplane.model import (
    Endpoint,
    Grouping,
    Proposal,
    Reason,
    Service,
    ServiceName,
    Verdict,
    Weights,
)
from controlplane.telemetry.services import Balanced, ServiceCollector

DECLARED = tuple(Endpoint(f"10.0.0.{i}", 80) for i in range(4))
ENDPOINTS = tuple(one.id for one in DECLARED)
TWO = Grouping(ENDPOINTS, ("fast", "slow"), np.array([0, 0, 1, 1]))
ONE = Grouping(ENDPOINTS, ("all",), np.zeros(4, np.intp))


def balanced(base: tuple[float, float] | None = None, grouping: Grouping = TWO) -> Balanced:
    service = Service(ServiceName("shop/web"), DECLARED)
    shares = np.array([0.7, 0.3])
    reasons = (Reason("stepped", "a"), Reason("stepped", "b"), Reason("warming", "c"))
    return Balanced(
        Verdict(service, TWO, shares, Weights((70, 30)), True, reasons),
        Proposal(
            np.array([0.9, 0.1]) if len(grouping.names) == 2 else np.ones(1),
            "learned",
            base=None if base is None else np.array(base),
        ),
        grouping,
    )


def value(one: Balanced, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: [one]))
    return registry.get_sample_value(name, {"service": "shop/web", **labels})


def test_shares_are_those_in_force_and_not_those_that_are_wanted() -> None:
    one = balanced()
    assert value(one, "weir_service_share", group="fast") == pytest.approx(0.7)
    assert value(one, "weir_service_share", group="slow") == pytest.approx(0.3)
    assert value(one, "weir_service_policy", policy="learned") == 1.0


def test_each_reason_is_told_once() -> None:
    assert value(balanced(), "weir_service_reason", code="stepped") == 1.0
    assert value(balanced(), "weir_service_reason", code="warming") == 1.0
    assert value(balanced(), "weir_service_reason", code="bounded") is None


def test_what_moves_is_the_part_of_the_requests_that_goes_elsewhere() -> None:
    one = balanced(base=(0.6, 0.4))
    assert value(one, "weir_service_moved_share", by="policy") == pytest.approx(0.3)
    assert value(one, "weir_service_moved_share", by="guard") == pytest.approx(0.2)


def test_nothing_is_said_of_what_cannot_be_compared() -> None:
    assert value(balanced(), "weir_service_moved_share", by="policy") is None
    assert value(balanced(grouping=ONE), "weir_service_moved_share", by="guard") is None
