"""Situations to put before the guard, and a service that lives through many checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from controlplane.guard import Code, Memory, check
from controlplane.model import (
    Endpoint,
    EndpointId,
    Estimate,
    Grouping,
    GuardSettings,
    Observation,
    Proposal,
    Service,
    ServiceName,
    Situation,
    Verdict,
)
from controlplane.model.observation import Floats

NAME = ServiceName("default/shop")


def service(
    n: int, *, capacity: Sequence[float | None] = (), guard: GuardSettings | None = None
) -> Service:
    """`n` endpoints, 10.0.0.1:80 and on; `capacity` as declared by label."""
    labels: list[dict[str, str]] = [
        {} if one is None else {"weir.dev/capacity": str(one)} for one in capacity
    ] or [{}] * n
    endpoints = tuple(
        Endpoint(f"10.0.{i // 250}.{i % 250 + 1}", 80, labels=labels[i]) for i in range(n)
    )
    return Service(NAME, endpoints, policy="test", guard=guard or GuardSettings())


def ids(of: Service) -> tuple[EndpointId, ...]:
    return tuple(endpoint.id for endpoint in of.endpoints)


def each(of: Service) -> Grouping:
    """Endpoint weights: a group for each endpoint."""
    names = ids(of)
    return Grouping(names, names, np.arange(len(names), dtype=np.intp), by_locality=False)


def grouped(of: Service, *index: int) -> Grouping:
    """Group weights: the endpoints in the groups of these numbers."""
    names = tuple("abcdefgh"[: max(index) + 1])
    return Grouping(ids(of), names, np.array(index, dtype=np.intp))


def look(of: Service, at_s: float, *, rate: float | Sequence[float] = 100.0) -> Observation:
    """Healthy numbers, a little different each time, `rate` requests/s for each endpoint."""
    n = len(of.endpoints)
    noise = 1.0 + 0.01 * np.sin(at_s * 7.0 + np.arange(n))
    return Observation(
        service=of.name,
        at_s=at_s,
        window_s=1.0,
        endpoints=ids(of),
        succeeded=np.round(np.full(n, 1.0) * rate * noise),
        failed=np.zeros(n),
        in_flight=np.full(n, 5.0) * noise,
        latency_s=0.05 * noise,
        latency_p99_s=0.1 * noise,
        latency_samples=np.full(n, 50.0),
        utilisation=np.full(n, 0.5),
        age_s=np.zeros(n),
    )


def with_errors(seen: Observation, *failed: float) -> Observation:
    """Of the requests that were seen, these failed."""
    broken = np.array(failed, dtype=np.float64)
    return replace(seen, failed=broken, succeeded=np.maximum(seen.succeeded - broken, 0.0))


class Life:
    """One service from check to check. `ask` is one tick, one second after the one before."""

    def __init__(self, of: Service, grouping: Grouping | None = None) -> None:
        self.service = of
        self.grouping = grouping or each(of)
        self.memory: Memory | None = None
        self.now_s = 1000.0
        self.estimate: Estimate | None = None
        self.frozen: str | None = None
        self.ask(None)  # the first verdict is the start, whatever is proposed

    @property
    def shares(self) -> Floats:
        assert self.memory is not None
        return self.memory.shares

    def ask(
        self,
        wanted: Sequence[float] | Floats | None,
        seen: Observation | None = None,
        *,
        after_s: float = 1.0,
    ) -> Verdict:
        """The verdict on these shares; None proposes what is in force."""
        self.now_s += after_s
        seen = seen if seen is not None else look(self.service, self.now_s)
        if wanted is None and self.memory is not None and self.memory.grouping is self.grouping:
            wanted = self.memory.shares
        elif wanted is None:
            wanted = np.full(len(self.grouping.names), 1.0 / max(1, len(self.grouping.names)))
        estimate = self.estimate or Estimate.unknown(ids(self.service))
        situation = Situation(
            self.service, seen, estimate, self.grouping, np.zeros(len(self.grouping.names))
        )
        proposal = Proposal(np.asarray(wanted), "test")
        verdict, self.memory = check(
            situation, proposal, self.memory, self.now_s, frozen=self.frozen
        )
        return verdict


def codes(verdict: Verdict) -> list[Code]:
    return [Code(reason.code) for reason in verdict.reasons]


def text_of(verdict: Verdict, code: Code) -> str:
    (text,) = [reason.text for reason in verdict.reasons if reason.code == code]
    return text
