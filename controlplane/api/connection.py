"""A connection of the HTTP addresses: one that asks nothing takes nobody's place.

uvicorn answers 503 to everybody once `limit_concurrency` connections are open, and waits without
end for the first request of each: a few hundred idle ones, from any pod, would fail the probes of
this one. Here the one that is idle longest makes room for a new one, and what was begun has a
deadline.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""Connections of one address."""
HEAD_S = 10.0
"""The head of a request is there so long after its first byte."""


class Connection(H11Protocol):
    """As uvicorn has it, within bounds."""

    _idle_since_s = 0.0
    """By the clock of the loop."""
    _deadline: asyncio.TimerHandle | None = None
    _begun = False
    """Whether a part of a head is there."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it."""
        super().connection_made(transport)
        self._idle_since_s = self.loop.time()
        self._close_in(self.timeout_keep_alive)
        if len(self.connections) >= MOST:
            others = (one for one in self.connections if isinstance(one, Connection))
            idle = [one for one in others if one is not self and not one._asked]
            if idle:
                min(idle, key=lambda one: one._idle_since_s)._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is to be done any more."""
        self._close_in(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request, or several."""
        super().data_received(data)
        if self._asked:
            self._begun = False
            self._close_in(None)
        elif not self._begun:
            self._begun = True
            self._close_in(HEAD_S)

    def on_response_complete(self) -> None:
        """uvicorn counts how long it is idle from now on."""
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    @property
    def _asked(self) -> bool:
        """Whether somebody waits for an answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _close_in(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._abort)

    def _abort(self) -> None:
        """At once: whoever says nothing may take no end either."""
        self.connections.discard(self)
        self.transport.abort()
