"""Certificates that end are told of in time: a metric, and lines in the log."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from controlplane.resources import Declared
from controlplane.resources.expiry import InUse, in_use

logger = structlog.get_logger(__name__)

LOOK_AGAIN_S = 3600.0
_MOST_TOLD = 20


class CertificateWatch:
    """The certificates in use; each is spoken of once as it comes to each of `WARN_DAYS`."""

    def __init__(self, registry: CollectorRegistry, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._gauge = Gauge(
            "weir_certificate_expiry_timestamp_seconds",
            "When a certificate in use ends, or one that comes with it.",
            ["kind", "object", "entry"],
            registry=registry,
        )
        self._in_use: tuple[InUse, ...] = ()
        self._told: dict[InUse, int] = {}
        self._own: dict[tuple[str, str, str], float] = {}

    def own(self, kind: str, holder: str, entry: str, ends_s: float) -> None:
        """One that Weir itself shows, and when it ends, in seconds since the epoch."""
        self._own[kind, holder, entry] = ends_s
        self._gauge.labels(kind, holder, entry).set(ends_s)

    def declare(self, declared: Declared) -> None:
        """These are in force now."""
        self._in_use = in_use(declared)
        self._gauge.clear()
        for one in self._in_use:
            place = (one.holder.kind, one.holder.name, one.entry)
            self._gauge.labels(*place).set(one.certificate.not_after.timestamp())
        for own, ends_s in self._own.items():
            self._gauge.labels(*own).set(ends_s)
        self.look()

    def look(self) -> None:
        """Tell of those that came nearer to their end."""
        now = datetime.datetime.fromtimestamp(self._wall_clock(), datetime.UTC)
        stages = {one: one.stage(now) for one in self._in_use}
        near = {one: stage for one, stage in stages.items() if stage is not None}
        news = [one for one, stage in near.items() if self._told.get(one) != stage]
        for one in news[:_MOST_TOLD]:
            logger.warning(
                "a certificate has ended" if one.days(now) <= 0 else "a certificate ends soon",
                object=str(one.holder),
                entry=one.entry,
                names=", ".join(one.certificate.names[:3]),
                ends=one.certificate.not_after.isoformat(),
            )
        if len(news) > _MOST_TOLD:
            logger.warning("more certificates end soon", more=len(news) - _MOST_TOLD)
        self._told = near

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            self.look()
