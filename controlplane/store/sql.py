"""The last good state in a SQL database: SQLite by default, another by its SQLAlchemy URL.

SQLite runs with a write-ahead log and synchronous=NORMAL: what was saved survives the death of the
process, and a power cut costs the newest saves and never the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Column, Float, MetaData, String, Table, Text, event, insert, select
from sqlalchemy.exc import DatabaseError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.errors import StoreError
from controlplane.model import LastGood, ServiceName
from controlplane.store.document import from_text, to_text

_T = TypeVar("_T")

logger = structlog.get_logger(__name__)

_METADATA = MetaData()
_LAST_GOOD = Table(
    "last_good",
    _METADATA,
    Column("service", String(512), primary_key=True),
    Column("saved_at", Float, nullable=False),
    Column("document", Text, nullable=False),
)
_CORRUPT = ("malformed", "not a database", "disk image", "file is encrypted")
BUSY_S = 0.2
"""How long SQLite itself waits for the lock of another process."""


class SqlStateStore:
    """A `StateStore`. It connects when it is first used, and again after every failure."""

    def __init__(self, url: str, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._wall_clock = wall_clock
        self._engine: AsyncEngine | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> SqlStateStore:
        """The default: `state.db` in the state folder, which is made when it is needed."""
        return cls(f"sqlite+aiosqlite:///{folder / 'state.db'}")

    async def load(self) -> Mapping[ServiceName, LastGood]:
        """All that was stored. A document that cannot be read is left out, with a warning.

        Raises `StoreError`; a file that is no database any more was then moved aside.
        """
        rows = await self._run(_select_all)
        states: dict[ServiceName, LastGood] = {}
        for service, saved_at, document in rows:
            try:
                last = from_text(str(service), str(document), float(saved_at))
            except (ValueError, TypeError) as error:
                logger.warning("a stored state is left out", service=service, why=str(error))
                continue
            states[last.service] = last
        return states

    async def save(self, states: Sequence[LastGood]) -> None:
        """Store these together or not at all. Raises `StoreError`."""
        if not states:
            return
        rows = [
            {"service": one.service, "saved_at": one.saved_at, "document": to_text(one)}
            for one in states
        ]

        async def replace_rows(connection: AsyncConnection) -> None:
            names = [row["service"] for row in rows]
            for at in range(0, len(names), 500):  # a statement takes a bounded number of names
                some = names[at : at + 500]
                await connection.execute(_LAST_GOOD.delete().where(_LAST_GOOD.c.service.in_(some)))
            await connection.execute(insert(_LAST_GOOD), rows)

        await self._run(replace_rows)

    async def close(self) -> None:
        """Give the connection back. The store may be used again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """`work` in one transaction."""
        try:
            engine = await self._connected()
            async with engine.begin() as connection:
                return await work(connection)
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(await self._explained(error)) from error

    async def _connected(self) -> AsyncEngine:
        if self._engine is not None:
            return self._engine
        path = self._path()
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY_S}} if path is not None else {}
        engine = create_async_engine(self._url, pool_size=1, max_overflow=0, **options)
        if path is not None:
            event.listen(engine.sync_engine, "connect", _configure_sqlite)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(_METADATA.create_all)
        except BaseException:
            await engine.dispose()
            raise
        self._engine = engine
        return engine

    async def _explained(self, error: Exception) -> str:
        """What happened, for a person; a corrupt file is moved aside, never deleted."""
        path = self._path()
        what = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        where = str(path) if path is not None else self._url.split("@")[-1]
        if path is None or not isinstance(error, DatabaseError):
            return f"{where}: {what}"
        if not any(sign in what for sign in _CORRUPT):
            return f"{where}: {what}"
        await self.close()
        aside = path.with_name(f"{path.name}.corrupt-{int(self._wall_clock())}")
        try:
            _move(path, aside)
        except OSError as failure:
            return f"{where}: {what}; it could not be moved aside: {failure}"
        return f"{where}: {what}; it was moved to {aside.name}, a new one is begun"

    def _path(self) -> Path | None:
        """The file, where it is SQLite in a file."""
        kind, _, rest = self._url.partition(":///")
        return Path(rest) if kind.startswith("sqlite") and rest else None


async def _select_all(connection: AsyncConnection) -> Sequence[Any]:
    columns = _LAST_GOOD.c
    return (
        await connection.execute(select(columns.service, columns.saved_at, columns.document))
    ).all()


def _move(path: Path, aside: Path) -> None:
    """A SQLite file, and what lies beside it."""
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{end}", f"{aside}{end}")


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()
