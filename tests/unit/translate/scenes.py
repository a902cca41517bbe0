"""Declared objects, services and verdicts that tests of translation start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.model import Endpoint, Grouping, Service, ServiceName, Verdict, Weights
from controlplane.resources import Declared, services
from tests.unit.resources.documents import read


def declared(*documents: str) -> Declared:
    """What these documents declare."""
    return read({"all.yaml": "---\n".join(documents)}).declared


def endpoints(declared: Declared) -> dict[ServiceName, tuple[Endpoint, ...]]:
    """The addresses as declared."""
    return {
        ServiceName(key): tuple(
            Endpoint(one.ip.address, one.ip.port, draining=one.draining)
            for one in backend.spec.endpoints
            if one.ip
        )
        for key, backend in declared.backends.items()
    }


def all_services(declared: Declared) -> tuple[Service, ...]:
    """Every Backend as a service."""
    return services(declared, endpoints(declared))


def grouped(
    service: Service, groups: Sequence[int], weights: Sequence[int], names: str = "abcdefgh"
) -> Verdict:
    """A verdict of group weights; `groups` says which group each endpoint is in."""
    return _verdict(service, list(groups), weights, tuple(names[: len(weights)]), True)


def single(service: Service, weights: Sequence[int]) -> Verdict:
    """A verdict of endpoint weights."""
    count = len(service.endpoints)
    names = tuple(endpoint.id for endpoint in service.endpoints)
    return _verdict(service, list(range(count)), weights, names, False)


def even(services: Sequence[Service]) -> dict[ServiceName, Verdict]:
    """Everything in one group."""
    return {
        one.name: grouped(one, [0] * len(one.endpoints), [1]) for one in services if one.endpoints
    }


def _verdict(
    service: Service,
    index: list[int],
    weights: Sequence[int],
    names: tuple[str, ...],
    by_locality: bool,
) -> Verdict:
    ids = tuple(endpoint.id for endpoint in service.endpoints)
    grouping = Grouping(ids, names, np.array(index, dtype=np.intp), by_locality)
    shares = np.array(weights, dtype=np.float64) / sum(weights)
    return Verdict(service, grouping, shares, Weights(tuple(weights)), True)
