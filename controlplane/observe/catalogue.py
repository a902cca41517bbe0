"""Which declared service a cluster name in the telemetry means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controlplane.model import OF_CLASS, Service, ServiceName
from controlplane.observe.totals import Totals


class Catalogue:
    """The declared services, by the names that Envoys may call them by."""

    def __init__(self) -> None:
        self._totals: dict[ServiceName, Totals] = {}
        self._by_cluster: Mapping[str, Totals] = {}
        self.generation = 0
        """Grows with each declaration: what was looked up before may be wrong."""

    def declare(self, services: Iterable[Service]) -> Sequence[ServiceName]:
        """These are the services from now on. Those that are others than before, came or went."""
        wanted = {service.name: service for service in services}
        changed = [name for name in self._totals if name not in wanted]
        for name in changed:
            del self._totals[name]
        same = not changed
        for name, service in wanted.items():
            totals = self._totals.get(name)
            if totals is not None and totals.service is service:
                continue
            if totals is None:
                self._totals[name], same = Totals(service), False
            else:
                totals.declare(service)
            changed.append(name)
        if not same:
            self._by_cluster = _by_cluster(self._totals)
        self.generation += 1
        return changed

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
