"""The proxies that send numbers about one service: who is there, and who is missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from controlplane.model import ProxyKey
from controlplane.observe.proxies import FORGET_S

EXPECTED_S = 30.0
"""A proxy that fell silent is missed for this long; then it is taken for gone."""


@dataclass(slots=True)
class Member:
    """A proxy that sends numbers about the service."""

    workers: int
    reported_at_s: float = -np.inf
    """Its newest load report that names the service."""
    logged_at_s: float = -np.inf
    """Its newest access log entry of the service, where it sends no load reports."""


def forget(members: dict[ProxyKey, Member], now_s: float) -> None:
    """Drop those that have been silent for long."""
    for proxy in [
        proxy
        for proxy, member in members.items()
        if max(member.reported_at_s, member.logged_at_s) < now_s - FORGET_S
    ]:
        del members[proxy]


@dataclass(frozen=True, slots=True)
class Present:
    """Which proxies of a service are there."""

    reporting: int
    """Proxies whose load reports come."""
    logging: int
    """Proxies that send access logs and no load reports."""
    missing: int
    """Proxies whose load reports stopped coming a short while ago."""
    workers: int

    @classmethod
    def of(cls, members: Mapping[ProxyKey, Member], now_s: float, live_s: float) -> Present:
        """Sort them by when they were last heard."""
        reporting = logging = missing = workers = 0
        for member in members.values():
            if member.reported_at_s >= now_s - live_s:
                reporting += 1
            elif member.logged_at_s >= now_s - EXPECTED_S:
                logging += 1
            elif member.reported_at_s >= now_s - EXPECTED_S:
                missing += 1
                continue
            else:
                continue
            workers += member.workers
        return cls(reporting, logging, missing, workers)
