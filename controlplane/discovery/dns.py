"""The resolver of the system, made bounded: a deadline for each lookup, a limit on those under way.

`getaddrinfo` cannot be interrupted, so each lookup has a daemon thread: one that hangs holds up
neither the loop nor the end of the process. Threads still at work count against the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable

MAX_ADDRESSES = 1000
"""Of one name; the rest is left out."""

_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class SystemResolver:
    """Looks names up with `getaddrinfo`."""

    def __init__(
        self,
        *,
        deadline_s: float = 5.0,
        at_once: int = 16,
        look_up: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        """`look_up` blocks until it knows; without one, `getaddrinfo` is asked."""
        self._look_up = look_up or addresses
        self._deadline_s = deadline_s
        self._at_once = at_once
        self._working = 0
        self._lock = threading.Lock()

    async def __call__(self, hostname: str) -> tuple[str, ...]:
        """The addresses of the name, sorted; none where it does not exist.

        IPv4 where there is any, else IPv6. Raises `OSError` (`TimeoutError` is one) when it could
        not be found out.
        """
        with self._lock:
            if self._working >= self._at_once:
                raise OSError(f"{self._working} lookups are under way already")
            self._working += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[str, ...]] = loop.create_future()

        def give(addresses: tuple[str, ...], error: OSError | None) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(addresses)
                else:
                    answer.set_exception(error)

        def look_up() -> None:
            found: tuple[str, ...] = ()
            failure: OSError | None = None
            try:
                found = self._look_up(hostname)
            except (OSError, UnicodeError) as error:
                failure = error if isinstance(error, OSError) else OSError(str(error))
            finally:
                with self._lock:
                    self._working -= 1
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
                loop.call_soon_threadsafe(give, found, failure)

        threading.Thread(target=look_up, name=f"dns {hostname}", daemon=True).start()
        async with asyncio.timeout(self._deadline_s):
            return await answer


def addresses(hostname: str) -> tuple[str, ...]:
    """Blocks until the resolver of the system knows. Raises `OSError`."""
    try:
        rows = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            return ()
        raise
    found = {ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows}
    version = min((one.version for one in found), default=4)
    plain = sorted((one for one in found if one.version == version), key=int)
    return tuple(str(one) for one in plain[:MAX_ADDRESSES])
