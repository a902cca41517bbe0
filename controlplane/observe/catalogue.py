"""Which declared service a cluster name in the telemetry means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from controlplane.model import OF_CLASS, Service, ServiceName
from controlplane.observe.totals import Totals


class Catalogue:
    """The declared services, by the names that Envoys may call them by."""

    def __init__(self) -> None:
        self._totals: dict[ServiceName, Totals] = {}
        self._by_cluster: Mapping[str, Totals] = {}
        self.generation = 0
        """Grows with each declaration: what was looked up before may be wrong."""

    def declare(self, services: Iterable[Service]) -> frozenset[ServiceName]:
        """These are the services from now on. Which are others than before, came or went."""
        wanted = {service.name: service for service in services}
        gone = self._totals.keys() - wanted.keys()
        for name in gone:
            del self._totals[name]
        new = wanted.keys() - self._totals.keys()
        changed = {*gone, *new}
        for name, service in wanted.items():
            if name in new:
                self._totals[name] = Totals(service)
            elif (totals := self._totals[name]).service is not service:
                totals.declare(service)
                changed.add(name)
        if gone or new:
            self._by_cluster = _by_cluster(self._totals)
        self.generation += 1
        return frozenset(changed)

    def find(self, cluster: str, service_name: str = "") -> Totals | None:
        """The service that a cluster of this name, or with this EDS service name, is."""
        by_cluster = self._by_cluster
        return (
            by_cluster.get(service_name)
            or by_cluster.get(cluster)
            or by_cluster.get(cluster.partition(OF_CLASS)[0])
        )

    def get(self, name: ServiceName) -> Totals | None:
        """The service of this name."""
        return self._totals.get(name)

    def __iter__(self) -> Iterator[Totals]:
        return iter(self._totals.values())


def _by_cluster(totals: Mapping[ServiceName, Totals]) -> Mapping[str, Totals]:
    """By `namespace/name`, and by the bare name where only one service has it."""
    bare = {name: name.rpartition("/")[2] for name in totals}
    often = Counter(bare.values())
    found: dict[str, Totals] = {}
    found.update((bare[name], one) for name, one in totals.items() if often[bare[name]] == 1)
    found.update((str(name), one) for name, one in totals.items())
    return found
