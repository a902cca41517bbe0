"""Parts of a service that are balanced each by itself: Envoy reports them as one cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controlplane.model import Observation, Service, ServiceName
from controlplane.ports import MetricSource


def wholes(services: Iterable[Service]) -> list[Service]:
    """As Envoys know them: parts of one cluster put together."""
    found: dict[ServiceName, Service] = {}
    for service in services:
        before = found.get(service.cluster)
        if service.part is None:
            found[service.cluster] = service
        elif before is None:
            found[service.cluster] = replace(service, name=service.cluster, part=None)
        else:
            found[service.cluster] = replace(
                before,
                endpoints=before.endpoints + service.endpoints,
                draining=before.draining + service.draining,
            )
    return list(found.values())


class ByPart:
    """A `MetricSource` whose looks are of parts, by one that looks at whole clusters."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        """Look at these services, of which some may be parts."""
        if all(service.part is None for service in services):
            return await self._source.observe(services)
        looks = await self._source.observe(wholes(services))
        return {
            service.name: _of(looks[service.cluster], service)
            for service in services
            if service.cluster in looks
        }


def _of(look: Observation, service: Service) -> Observation:
    if service.part is None:
        return look
    ids = tuple(endpoint.id for endpoint in service.endpoints)
    return replace(look.for_endpoints(ids), service=service.name)
