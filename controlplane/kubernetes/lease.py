"""Who decides among several replicas: the holder of a Lease, with an epoch that only grows.

As client-go does it (`tools/leaderelection`): whoever holds the Lease renews it; whoever does not
takes it when it was not renewed for its duration, by this process's own clock, counted from when
the renewal was seen: clocks of different machines are never compared. Each write names the version
it saw, so that of two that reach for it one is refused. The holder stops holding `renew_s` after
its last renewal, which is before anybody else may take it: no two hold it at one time, as long as
clocks run at about the same speed. `epoch` is `leaseTransitions`: it is greater for every later
holder, so that what an earlier one did late can be told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.resource import LEASES
from controlplane.model import Leader

logger = structlog.get_logger(__name__)

ADDRESS = "weir.dev/address"
"""The annotation in which its holder says where other replicas reach it."""
RELEASE_S = 1.5
"""Letting it go takes no longer: there is more to do at the end, and little time for it."""


class Leases(Protocol):
    """The part of the client that a lease uses."""

    async def get(self, path: str) -> Object:
        """What stands at a path. Raises `ApiError`."""
        ...

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """One more. Raises `ApiError`."""
        ...

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """In its place, if nobody else changed it. Raises `ApiError`."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """In seconds; those of client-go."""

    duration_s: int = 15
    """Not renewed for this long, it may be taken."""
    renew_s: float = 10.0
    """Not renewed for this long, its holder stops."""
    retry_s: float = 2.0
    """Between two looks."""

    @property
    def look_s(self) -> float:
        """What holds it is known within this, or not by this look: one that hangs leaves its holder
        the time for another."""
        return 0.4 * self.renew_s

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_s < self.duration_s:
            raise ValueError("wanted retry_s < renew_s < duration_s")


class Lease:
    """One Lease, and whether we hold it."""

    def __init__(
        self,
        api: Leases,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        now: Callable[[], str],
        chance: random.Random,
        times: LeaseTimes | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        address: str = "",
    ) -> None:
        """`now` is the time of day with microseconds, as Kubernetes writes it; for people.
        `address` is where other replicas reach us; empty: nowhere."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._now = now
        self._chance = chance
        self._times = times or LeaseTimes()
        self._sleep = sleep
        self._address = address
        self._holders_address = ""
        self._until_s = -1.0
        self._seen: tuple[object, object] = (None, None)
        self._seen_s = 0.0
        self.holder = ""
        """Who held it when we last looked."""
        self.epoch = 0
        """Of the holder that was last seen."""

    @property
    def holds(self) -> bool:
        """Whether we hold it, now."""
        return self.holder == self._identity and self._clock() < self._until_s

    @property
    def leader(self) -> Leader | None:
        """Who holds it, as of the last look; None: nobody."""
        if not self.holder:
            return None
        return Leader(self.holder, self.epoch, self._holders_address)

    async def run(self) -> None:
        """For ever: take it when it is free, and renew it."""
        while True:
            held = self.holds
            try:
                await self._look()
            except ApiError as error:
                if not error.conflict:
                    logger.warning("the lease cannot be looked at", why=str(error))
            if self.holds != held:
                word = "this replica decides" if self.holds else "another replica decides"
                logger.info(word, holder=self.holder, epoch=self.epoch)
            await self._sleep(self._times.retry_s * self._chance.uniform(0.8, 1.0))

    async def release(self) -> None:
        """Let it go, so that the next need not wait. Best effort, once."""
        if not self.holds:
            return
        self._until_s = -1.0
        try:
            async with asyncio.timeout(RELEASE_S):
                lease = await self._api.get(self._path)
                if lease["spec"].get("holderIdentity") == self._identity:
                    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._api.replace(self._path, {**lease, "spec": spec})
        except (ApiError, TimeoutError) as error:
            logger.info("the lease was not let go", why=str(error) or "no answer in time")

    @property
    def _path(self) -> str:
        return LEASES.path(self._namespace, self._name)

    async def _look(self) -> None:
        asked_s = self._clock()
        try:
            async with asyncio.timeout(self._times.look_s):
                lease = await self._api.get(self._path)
        except TimeoutError as error:
            raise ApiError(0, f"no answer within {self._times.look_s:g} s") from error
        except ApiError as error:
            if not error.missing:
                raise
            await self._create(asked_s)
            return
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_s = seen, asked_s
        self.holder, self.epoch = holder, int(spec.get("leaseTransitions") or 0)
        annotations = (lease.get("metadata") or {}).get("annotations") or {}
        self._holders_address = str(annotations.get(ADDRESS) or "")
        if holder == self._identity:
            await self._write(lease, spec, self.epoch, asked_s)
        elif not holder or asked_s >= self._seen_s + float(
            spec.get("leaseDurationSeconds") or self._times.duration_s
        ):
            await self._write(lease, spec, self.epoch + 1, asked_s)

    async def _create(self, asked_s: float) -> None:
        await self._api.create(
            LEASES.path(self._namespace),
            {
                "apiVersion": LEASES.api,
                "kind": LEASES.kind,
                "metadata": {
                    "name": self._name,
                    "namespace": self._namespace,
                    "annotations": {ADDRESS: self._address},
                },
                "spec": self._spec({}, 1),
            },
        )
        self._took(1, asked_s)

    async def _write(
        self, lease: Object, spec: Mapping[str, Any], epoch: int, asked_s: float
    ) -> None:
        metadata = lease["metadata"]
        annotations = {**(metadata.get("annotations") or {}), ADDRESS: self._address}
        ours = {"metadata": {**metadata, "annotations": annotations}}
        await self._api.replace(self._path, {**lease, **ours, "spec": self._spec(spec, epoch)})
        self._took(epoch, asked_s)

    def _spec(self, before: Mapping[str, Any], epoch: int) -> dict[str, Any]:
        now = self._now()
        ours = before.get("holderIdentity") == self._identity
        return {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._times.duration_s,
            "acquireTime": before.get("acquireTime") or now if ours else now,
            "renewTime": now,
            "leaseTransitions": epoch,
        }

    def _took(self, epoch: int, asked_s: float) -> None:
        self.holder, self.epoch, self._holders_address = self._identity, epoch, self._address
        self._until_s = asked_s + self._times.renew_s
