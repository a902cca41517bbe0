"""Events: what `kubectl describe` shows of what happened to an object."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog

from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.objects import Held
from controlplane.kubernetes.resource import EVENTS
from controlplane.resources.declared import ObjectKey
from controlplane.resources.gateway_class import CONTROLLER

logger = structlog.get_logger(__name__)

MOST_WAITING = 100
AGAIN_S = 600.0
"""The same is not said again before this is over."""
_MOST_KEPT = 1000
_MOST_BYTES = 1024  # of `note`, as Kubernetes has it


class Creates(Protocol):
    """The part of the client that events need."""

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """One more. Raises `ApiError`."""
        ...


@dataclass(frozen=True, slots=True)
class Happened:
    """One thing that happened to an object."""

    key: ObjectKey
    reason: str
    """One word: `Frozen`, `Resumed`, `Refused`, `RolledBack`."""
    note: str
    type: Literal["Normal", "Warning"] = "Warning"


class Recorder:
    """Takes what happened without waiting, and writes it in the background."""

    def __init__(
        self,
        api: Creates,
        held: Callable[[], Mapping[ObjectKey, Held]],
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], str],
        unique: Callable[[], str],
    ) -> None:
        """`now` is the time of day with microseconds; `unique` ends the names of events."""
        self._api = api
        self._held = held
        self._identity = identity
        self._clock = clock
        self._now = now
        self._unique = unique
        self._waiting: asyncio.Queue[Happened] = asyncio.Queue(MOST_WAITING)
        self._told: OrderedDict[Happened, float] = OrderedDict()
        self.dropped = 0
        """For want of room."""

    def tell(self, happened: Happened) -> None:
        """Never blocks; what was said lately is not said again."""
        now_s = self._clock()
        if now_s - self._told.get(happened, -AGAIN_S) < AGAIN_S:
            return
        self._told[happened] = now_s
        self._told.move_to_end(happened)
        while len(self._told) > _MOST_KEPT:
            self._told.popitem(last=False)
        try:
            self._waiting.put_nowait(happened)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """For ever."""
        while True:
            happened = await self._waiting.get()
            try:
                await self.write(happened)
            except ApiError as error:
                logger.warning("an event was not written", object=str(happened.key), why=str(error))

    async def write(self, happened: Happened) -> None:
        """Now; nothing where the object is gone. Raises `ApiError`."""
        held = self._held().get(happened.key)
        if held is not None:
            path = EVENTS.path(held.namespace or "default")
            await self._api.create(path, self._event(happened, held))

    def _event(self, happened: Happened, held: Held) -> dict[str, Any]:
        return {
            "apiVersion": EVENTS.api,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{held.name[:200].rstrip('.-')}.{self._unique()}",
                "namespace": held.namespace or "default",
            },
            "eventTime": self._now(),
            "reportingController": CONTROLLER,
            "reportingInstance": self._identity[:128],
            "action": "Reconcile",
            "reason": happened.reason,
            "note": happened.note.encode(errors="replace")[:_MOST_BYTES].decode(errors="ignore"),
            "type": happened.type,
            "regarding": {
                "apiVersion": held.resource.api,
                "kind": held.resource.kind,
                "name": held.name,
                "uid": held.uid,
                **({"namespace": held.namespace} if held.namespace else {}),
            },
        }
