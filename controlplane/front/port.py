"""What the rest of the control plane knows of where Envoys are served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from controlplane.front.proxies import Document, Side
from controlplane.xds.status import Client


class Front(Protocol):
    """Serves what is in the cache to Envoys. Questions wait for an answer for a bounded time."""

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        ...

    @property
    def ready(self) -> bool:
        """Whether anybody listens."""
        ...

    async def start(self) -> None:
        """Listen. Raises `StartupError` when that cannot be, and says why."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Refuse new streams, end the present ones, and close."""
        ...

    def know(self, gateways: Iterable[str]) -> None:
        """These Gateways are declared, by `namespace/name`: each is the fleet of its Envoys."""
        ...

    async def clients(self, fleet: str) -> Sequence[Client]:
        """The streams of a fleet, as they are now. Raises `WeirError` when that cannot be told."""
        ...

    async def proxies(self) -> list[Document]:
        """Every connected Envoy and where it stands, in the order of their ids."""
        ...

    async def proxy(self, node: str) -> Document | None:
        """One of them; None when no Envoy of this id is connected."""
        ...

    async def resources(self, node: str, side: Side, only: str | None) -> Document | None:
        """What an Envoy should run or has ACKed; None when no Envoy of this id is connected.

        Raises `WeirError` where that is too much for one answer.
        """
        ...

    async def refresh(self) -> None:
        """Bring what it has on /metrics up to date."""
        ...
