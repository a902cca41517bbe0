"""One kind, followed: listed once, then watched, and listed again where the watch lost its place.

- A watch that ends is followed by the next from the last version that was seen, a bookmark's too.
- 410: the version is too old for the server; everything is listed again.
- Anything else that fails is tried again after a wait that doubles, with jitter, up to `longest_s`,
  or as long as the server wants; what was there stays meanwhile. A watch that tells something, or
  ends in its time, sets the wait back; a list does not, or a server that forgets at once what it
  listed would be asked for all of it again and again.
- Every `resync_s` everything is listed again, in case an event was lost on the way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.objects import Objects
from controlplane.kubernetes.resource import CLUSTER_WIDE, Resource

logger = structlog.get_logger(__name__)

NOT_HELM = "type!=helm.sh/release.v1"
"""Secrets that hold what Helm installed: large, many, and no business of ours."""


SHORT_S = 1.0
"""A watch that ends before this is followed by the next after a wait, as one that failed."""


class Listing(Protocol):
    """What a list answers."""

    @property
    def objects(self) -> tuple[Object, ...]:
        """All of them."""
        ...

    @property
    def version(self) -> str:
        """Since when to watch."""
        ...


class Lists(Protocol):
    """The part of the client that a reflector uses."""

    async def list(self, resource: Resource, namespace: str, selector: str = "") -> Listing:
        """All objects of a kind. Raises `ApiError`."""
        ...

    def watch(
        self, resource: Resource, namespace: str, version: str, for_s: int, selector: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        """What changes after a version. Raises `ApiError`."""
        ...


@dataclass(frozen=True, slots=True)
class Times:
    """How long is waited for what, in seconds."""

    watch_s: tuple[int, int] = (60, 90)
    """A watch lasts between these, so that one whose connection died unseen is bounded too."""
    first_s: float = 0.5
    longest_s: float = 30.0
    resync_s: float = 900.0


class Reflector:
    """Keeps the objects of one kind as the server has them."""

    def __init__(
        self,
        api: Lists,
        resource: Resource,
        namespace: str,
        objects: Objects,
        *,
        clock: Callable[[], float],
        chance: random.Random,
        times: Times | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        relisted: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._objects = objects
        self._clock = clock
        self._chance = chance
        self._times = times or Times()
        self._sleep = sleep
        self._relisted = relisted
        self._selector = NOT_HELM if resource.kind == "Secret" else ""
        self._version = ""
        self._listed_s = 0.0
        self._failures = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                late = self._clock() - self._listed_s > self._times.resync_s
                if not self._version or late:
                    await self._list()
                began_s = self._clock()
                await self._watch()
                if self._clock() - began_s < SHORT_S:
                    await self._sleep(self._wait_s())  # or the server would be asked without end
                else:
                    self._failures = 0
            except ApiError as error:
                if error.gone:
                    self._version = ""
                    logger.info("a watch lost its place: listing again", kind=self._resource.kind)
                else:
                    self._tell(error)
                    if error.forbidden and self._resource.kind in CLUSTER_WIDE:
                        self._do_without()
                await self._sleep(max(self._wait_s(), error.retry_after_s))

    async def _list(self) -> None:
        found = await self._api.list(self._resource, self._namespace, self._selector)
        self._objects.replace(self._resource, found.objects)
        self._version, self._listed_s = found.version, self._clock()
        self._relisted(self._resource.kind)

    async def _watch(self) -> None:
        for_s = self._chance.randint(*self._times.watch_s)
        events = self._api.watch(
            self._resource, self._namespace, self._version, for_s, self._selector
        )
        async for kind, item in events:
            if kind in ("ADDED", "MODIFIED"):
                self._objects.put(self._resource, item)
            elif kind == "DELETED":
                self._objects.delete(self._resource, item)
            self._version = item["metadata"]["resourceVersion"]
            self._failures = 0

    def _do_without(self) -> None:
        """What stands in no namespace may be nobody's to show; a start does not wait for it."""
        if self._resource.kind in self._objects.missing:
            self._objects.replace(self._resource, ())

    def _wait_s(self) -> float:
        wait_s = min(self._times.longest_s, self._times.first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return wait_s * self._chance.uniform(0.5, 1.0)

    def _tell(self, error: ApiError) -> None:
        if self._failures in (0, 3) or self._failures % 10 == 0:
            logger.warning(
                "not allowed to follow a kind" if error.forbidden else "cannot follow a kind",
                kind=self._resource.kind,
                why=str(error),
                still="what was there is in force",
            )
