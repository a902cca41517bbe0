"""Runs the applications of the HTTP addresses on uvicorn, in the app's task group."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from controlplane.api.connection import MOST, Connection
from controlplane.errors import StartupError


class _Server(uvicorn.Server):
    """Signals are the app's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One address. `bind` early, so that a taken port stops the start."""

    def __init__(
        self,
        app: ASGIApp,
        name: str = "admin",
        tls: ssl.SSLContext | None = None,
        keep_alive_s: int = 30,
    ) -> None:
        """`name`: which address, and so which option, a complaint names. `tls`: what it is served
        with; none: plaintext. `keep_alive_s`: how long a connection may idle."""
        self.name = name
        config = uvicorn.Config(
            app,
            http=Connection,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MOST,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=2,
            server_header=False,
            ssl_context_factory=(lambda *_: tls) if tls is not None else None,
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None

    def bind(self, host: str, port: int) -> int:
        """Take the address and return its port. Raises `StartupError` when it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(256)
        except OSError as error:
            listener.close()
            raise StartupError(
                f"{self.name} address {host}:{port}: {error.strerror}; another process has it, or "
                f"it is not ours: give another with --{self.name}-address"
            ) from error
        listener.setblocking(False)
        self._socket = listener
        return int(listener.getsockname()[1])

    async def serve(self) -> None:
        """Until `stop`."""
        assert self._socket is not None, "bind first"
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `serve` end soon."""
        self._server.should_exit = True
