"""Who decides, as this process knows it. Where that is agreed upon is behind this port."""

from __future__ import annotations

from typing import Protocol

from controlplane.model import Leader


class Leadership(Protocol):
    """Exactly one replica decides at a time, or none."""

    @property
    def identity(self) -> str:
        """Who we are."""
        ...

    @property
    def decides(self) -> bool:
        """Whether we decide, now. Never true in two processes at a time."""
        ...

    @property
    def leader(self) -> Leader | None:
        """Who decides, as of a short while ago; None: nobody, or it is not known."""
        ...
