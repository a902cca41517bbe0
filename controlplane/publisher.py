"""The last line of a tick: verdicts become snapshots, and snapshots go to the sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from controlplane.model import Orders, Service, ServiceName, Verdict
from controlplane.ports import SnapshotSink
from controlplane.resources import Declared, ObjectKey
from controlplane.translate import Translator

logger = structlog.get_logger(__name__)

Sampling = Callable[[float], float]
"""The percentage of requests to log, given the one in force."""


class Publisher:
    """Joins translation and the sink. Nothing is translated while nothing changed."""

    def __init__(self, translator: Translator, sink: SnapshotSink, sampling: Sampling) -> None:
        self._translator = translator
        self._sink = sink
        self._sampling = sampling
        self._percent = 100.0
        self.declared: Declared | None = None
        """What was handed over last."""
        self._told: Mapping[ObjectKey, str] = {}
        self.published = False
        """Whether a complete state was ever handed over."""

    @property
    def percent(self) -> float:
        """How much of the traffic is logged."""
        return self._percent

    @property
    def unused(self) -> Mapping[ObjectKey, str]:
        """EnvoyPatches that were not used as they are written, and why."""
        return self._translator.patch_faults

    def publish(
        self,
        declared: Declared,
        services: Sequence[Service],
        verdicts: Mapping[ServiceName, Verdict],
        orders: Orders,
        changed: bool,
    ) -> None:
        """Make this the state of every fleet, if it is another one than before. `orders` are for
        Backends that tell the places of Envoys apart.

        `verdicts` has one for every service, changed or not: a snapshot is always complete.
        """
        percent = self._sampling(self._percent)
        if not changed and declared is self.declared and percent == self._percent:
            return
        self.declared, self._percent = declared, percent
        made = self._translator.snapshots(declared, services, verdicts, percent, orders)
        for snapshot in made:
            self._sink.publish(snapshot)
        self._tell_unused()
        self.published = True

    def _tell_unused(self) -> None:
        for key, why in self.unused.items():
            if self._told.get(key) != why:
                logger.warning("a patch is not used as it is written", patch=str(key), why=why)
        self._told = self.unused
