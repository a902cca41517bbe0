"""Writes statuses where they changed: one call for each, a few more where somebody was faster.

Only the replica that decides writes, which is looked at before every call and not once a pass: a
pass may take longer than its lease. What it began in time and the server does late names the
version that it saw, so that it is refused where the next holder has written meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.objects import Held, Objects
from controlplane.kubernetes.status import Status, merged
from controlplane.resources.declared import ObjectKey

logger = structlog.get_logger(__name__)

TRIES = 4
"""At most, of one status in one pass."""
AT_ONCE = 4
"""Calls under way."""


class Writes(Protocol):
    """The part of the client that a writer uses."""

    async def get(self, path: str) -> Object:
        """What stands at a path. Raises `ApiError`."""
        ...

    async def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        """Changes of fields (RFC 7396). Raises `ApiError`."""
        ...


class StatusWriter:
    """Keeps the statuses of objects as they are wanted."""

    def __init__(
        self,
        api: Writes,
        objects: Callable[[], Objects],
        now: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` is the time of day as Kubernetes writes it."""
        self._api = api
        self._objects = objects
        self._now = now
        self._clock = clock
        self._not_before_s = -math.inf
        self._refused: dict[ObjectKey, str] = {}

    async def write(
        self, wanted: Mapping[ObjectKey, Status], may: Callable[[], bool] = lambda: True
    ) -> int:
        """One pass; how many were written. What could not be is tried again in the next. `may` says
        whether we still may write, asked before each call."""
        held = self._objects().all()
        limit = asyncio.Semaphore(AT_ONCE)
        due = [
            (key, one, status)
            for key, status in wanted.items()
            if (one := held.get(key)) is not None
            and merged(one.status, status, self._now()) != one.status
        ]

        async def each(key: ObjectKey, one: Held, status: Status) -> bool:
            async with limit:
                return await self._one(key, one, status, may)

        return sum(await asyncio.gather(*(each(*one) for one in due)))

    async def _one(
        self, key: ObjectKey, one: Held, wanted: Status, may: Callable[[], bool]
    ) -> bool:
        path = one.resource.path(one.namespace, one.name)
        status, version = one.status, one.version
        try:
            for _ in range(TRIES):
                made = merged(status, wanted, self._now())
                if made == status:
                    return False  # whoever was faster wrote the same
                if not may() or self._clock() < self._not_before_s:
                    return False
                try:
                    body = {"metadata": {"resourceVersion": version}, "status": made}
                    item = await self._api.merge(f"{path}/status", body)
                except ApiError as error:
                    if not error.conflict:
                        raise
                    item = await self._api.get(path)
                    if item["metadata"].get("uid", "") != one.uid:
                        return False  # another object by the same name
                    status, version = item.get("status") or {}, item["metadata"]["resourceVersion"]
                    continue
                self._objects().answered(one.resource, version, item)
                self._refused.pop(key, None)
                return True
        except ApiError as error:
            self._not_before_s = max(self._not_before_s, self._clock() + error.retry_after_s)
            if not error.missing:
                self._tell(key, str(error))
            return False
        self._tell(key, f"others wrote it {TRIES} times meanwhile")
        return False

    def _tell(self, key: ObjectKey, why: str) -> None:
        if self._refused.get(key) != why:
            logger.warning("a status was not written", object=str(key), why=why)
        self._refused[key] = why
