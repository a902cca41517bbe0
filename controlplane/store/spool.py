"""A store in front of the store: the loop waits for a healthy one and never for one that hangs.

One writer task has at most one save under way, so a store that hangs costs one task and one
thread, whatever comes in meanwhile. What waits is the newest state of each service, bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from controlplane.errors import StoreError
from controlplane.model import LastGood, ServiceName
from controlplane.ports import StateStore

logger = structlog.get_logger(__name__)


class Spool:
    """A `StateStore`. `run` belongs to one task; `save` may be called from others."""

    def __init__(
        self,
        store: StateStore,
        *,
        most: int = 10_000,
        patience_s: float = 5.0,
        retry_s: tuple[float, float] = (1.0, 30.0),
    ) -> None:
        """`most` services wait at a time; a save under way for `patience_s` counts as hanging."""
        self._store = store
        self._most = most
        self._patience_s = patience_s
        self._retry_s = retry_s
        self._waiting: dict[ServiceName, LastGood] = {}
        self._filled = asyncio.Event()
        self._turn: asyncio.Future[str | None] | None = None
        self._troubled = ""
        self.dropped = 0
        """States that found no room."""
        self.failures = 0
        """Saves that failed, or hung."""
        self.written = 0
        """States that were saved."""

    @property
    def waiting(self) -> int:
        """Services whose newest state is not saved yet."""
        return len(self._waiting)

    async def load(self) -> Mapping[ServiceName, LastGood]:
        """Straight from the store."""
        return await self._store.load()

    async def save(self, states: Sequence[LastGood]) -> None:
        """Hand these over and wait until they are saved.

        The caller may stop waiting: they are saved nevertheless, as soon as the store can. Raises
        `StoreError` without waiting while the store is known to be in trouble.
        """
        if not states:
            return
        for one in states:
            self._put(one)
        self._filled.set()
        if self._troubled:
            raise StoreError(f"{self._troubled}; {len(self._waiting)} states wait to be saved")
        while any(self._waiting.get(one.service) is one for one in states):
            failure = await self._ended()
            if failure is not None:
                raise StoreError(failure)

    async def run(self) -> None:
        """Save what comes in, for ever. Failures are counted and tried again, ever more slowly."""
        pause_s = self._retry_s[0]
        while True:
            await self._filled.wait()
            self._filled.clear()
            if await self._write():
                pause_s = self._retry_s[0]
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, self._retry_s[1])
            self._filled.set()

    async def flush(self, deadline_s: float) -> None:
        """At the end: wait for what is waiting, at most so long. Needs `run` to be running."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._waiting:
                    await self._ended()
        except TimeoutError:
            logger.warning("the last states were not saved", waiting=len(self._waiting))

    async def _write(self) -> bool:
        batch = dict(self._waiting)
        if not batch:
            return True
        hanging = asyncio.get_running_loop().call_later(self._patience_s, self._hangs)
        failure = None
        try:
            await self._store.save(list(batch.values()))
        except StoreError as error:
            failure = str(error)
            self.failures += 1
            logger.warning("states are kept in memory until the store is back", why=failure)
        finally:
            hanging.cancel()
        self._troubled = failure or ""
        if failure is None:
            self.written += len(batch)
            for name, one in batch.items():
                if self._waiting.get(name) is one:
                    del self._waiting[name]
        self._tell(failure)
        return failure is None

    def _put(self, one: LastGood) -> None:
        if one.service not in self._waiting and len(self._waiting) >= self._most:
            self.dropped += 1
            return
        self._waiting[one.service] = one

    def _hangs(self) -> None:
        self.failures += 1
        self._troubled = f"the store has not answered for {self._patience_s:g} s"
        logger.warning("states are kept in memory until the store is back", why=self._troubled)
        self._tell(self._troubled)

    def _tell(self, failure: str | None) -> None:
        """Wake whoever waits for the save that has ended, or that hangs."""
        if self._turn is not None:
            self._turn.set_result(failure)
            self._turn = None

    async def _ended(self) -> str | None:
        """Wait until a save has ended; why it failed, if it did."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._turn)
