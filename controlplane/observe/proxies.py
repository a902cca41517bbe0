"""The Envoys that were heard of, in a table of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from controlplane.model import Proxy, ProxyKey

MAX_PROXIES = 20_000
MAX_ALIASES = 10_000
MAX_NAME = 256
"""Characters of a name of a cluster that is remembered."""
FORGET_S = 300.0


class Ended(NamedTuple):
    """Requests that ended at an Envoy, and how many of them failed."""

    requests: float = 0.0
    failed: float = 0.0

    @property
    def share(self) -> float:
        """The failed of all; 0 where there were none."""
        return self.failed / self.requests if self.requests else 0.0


@dataclass(slots=True)
class Heard:
    """What one Envoy told us, as far as it must be remembered from message to message."""

    proxy: Proxy
    at_s: float = -np.inf
    """Its newest message of any kind."""
    reported_at_s: float = -np.inf
    """Its newest load report, of whatever service."""
    aliases: dict[str, str] = field(default_factory=dict)
    """cluster name -> EDS service name, where its clusters are called differently from ours."""
    ended: dict[str, Ended] = field(default_factory=dict)
    """What it told of, by where: access logs (the logged part alone) and load reports."""

    def count(self, source: str, requests: float, failed: float) -> None:
        """Requests that ended there."""
        before = self.ended.get(source, Ended())
        self.ended[source] = Ended(before.requests + requests, before.failed + failed)


class Proxies:
    """Heard of by cluster and id; the one silent for longest makes room."""

    def __init__(self, limit: int = MAX_PROXIES) -> None:
        self._heard: dict[ProxyKey, Heard] = {}
        self._limit = limit

    def hear(self, proxy: Proxy, at_s: float) -> Heard:
        """Note that it spoke."""
        heard = self._heard.pop(proxy.key, None) or Heard(proxy)
        heard.proxy, heard.at_s = proxy, at_s
        self._heard[proxy.key] = heard  # to the end: the first is always the longest silent
        while len(self._heard) > self._limit or self._oldest().at_s < at_s - FORGET_S:
            del self._heard[next(iter(self._heard))]
        return heard

    def __iter__(self) -> Iterator[Heard]:
        """The longest silent first."""
        return iter(self._heard.values())

    def __len__(self) -> int:
        return len(self._heard)

    def _oldest(self) -> Heard:
        return next(iter(self._heard.values()))
