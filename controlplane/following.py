"""What the replica that decides has in force, on a replica that does not.

It stands in for the stages that decide: what was heard is taken over as it is. Both replicas hear
of endpoints by themselves, so for a moment one knows of a change that the other does not; what was
handed over then waits for the same endpoints here, or they wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from controlplane.model import Handover, Service, ServiceName

WAIT_S = 1.0
"""So long endpoints that changed wait for a verdict of the replica that decides, about a tick."""
APART_S = 2.0
"""After this a verdict about other endpoints is carried over to those that are known here."""


class Following:
    """What was heard, by service."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handed: dict[ServiceName, Handover] = {}
        self._fresh: dict[ServiceName, None] = {}
        """Not taken over yet, in the order in which they were heard."""
        self._apart_s: dict[ServiceName, float] = {}
        self._news = asyncio.Event()
        self._live = False

    def hear(self, handed: Iterable[Handover], *, whole: bool = False) -> None:
        """Newer ones. `whole`: these are all that there are."""
        if whole:
            self.forget()
        self._live = True
        for one in handed:
            self._handed[one.service] = one
            self._fresh[one.service] = None
        self._news.set()

    def hold(self) -> None:
        """Nobody is heard any more: what was heard stays, and nothing waits for news."""
        self._live = False
        self._news.set()

    def forget(self) -> None:
        """Nobody else decides any more, or somebody else does."""
        self._live = False
        self._handed.clear()
        self._fresh.clear()
        self._apart_s.clear()

    def of(self, name: ServiceName) -> Handover | None:
        """What was heard of a service last."""
        return self._handed.get(name)

    def fits(self, service: Service) -> bool:
        """Whether the verdict about it is about the endpoints that it has here."""
        one = self._handed.get(service.name)
        return one is not None and _same_endpoints(one, service)

    def ready(self, services: Mapping[ServiceName, Service]) -> list[ServiceName]:
        """What was heard since the last time and can be taken over."""
        now_s, found = self._clock(), []
        for name in list(self._fresh):
            service = services.get(name)
            if service is None:
                continue  # not declared here yet
            if not self.fits(service) and now_s < self._apart_s.setdefault(name, now_s) + APART_S:
                continue
            found.append(name)
            del self._fresh[name]
            if self.fits(service):
                self._apart_s.pop(name, None)
        return found

    async def wait(self, services: Sequence[Service]) -> None:
        """Until there is a verdict about just these endpoints of each, for a second at most, while
        somebody is heard."""
        try:
            async with asyncio.timeout(WAIT_S):
                while self._live and not all(map(self.fits, services)):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass  # the guard carries over what is in force


def _same_endpoints(one: Handover, service: Service) -> bool:
    known = one.last.grouping.endpoints
    return len(known) == len(service.endpoints) and frozenset(known) == frozenset(
        endpoint.id for endpoint in service.endpoints
    )
