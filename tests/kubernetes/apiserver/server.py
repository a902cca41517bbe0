"""A server in a thread of its own, on a free port of loopback."""

from __future__ import annotations

import asyncio
import base64
import datetime
import random
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import uvicorn
import yaml

from tests.certificates import Files
from tests.kubernetes.apiserver import portforward
from tests.kubernetes.apiserver.access import ADMIN
from tests.kubernetes.apiserver.api import Api
from tests.kubernetes.apiserver.errors import Object
from tests.kubernetes.apiserver.faults import Calls, Faults
from tests.kubernetes.apiserver.http import App
from tests.kubernetes.apiserver.objects import Source

T = TypeVar("T")
START_S = 10.0
END_S = 0.01
"""In which connections that are dropped at the end are let go."""
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class ApiServer:
    """`with ApiServer() as server:` — one cluster's API until the end of the block."""

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int = 1,
        tls: Files | None = None,
        access_control: bool = False,
        rollouts: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        """`tls`: a certificate for `host`, its key and its CA. `access_control`: bearer tokens
        are asked for and RBAC holds; `admin_token` may do everything. `rollouts`: workloads are
        ready as soon as they are wanted.
        """
        self.faults = Faults()
        self.admin_token = ""
        self._tls = tls
        self.api = Api(_source(seed, self.faults), faults=self.faults)
        self.api.rollouts = rollouts
        if access_control:
            self.admin_token = f"token-{self.api.source.uid()}"
            self.api.tokens = {self.admin_token: ADMIN}
        self._host, self._port = host, port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def calls(self) -> Calls:
        return self.api.calls

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self._host}:{self._port}"

    # --- running ---

    def start(self) -> Self:
        self._socket = socket.create_server((self._host, self._port), backlog=1024)
        # Accepted connections inherit it; asyncio sets it only on sockets that say they are TCP,
        # and a head and a body that wait for one another cost 40 ms a request.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            App(self.api),
            ws=portforward.protocol_of(self.api),
            log_level="error",
            lifespan="off",
            access_log=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
            server_header=False,
            ssl_certfile=self._tls.certificate if self._tls else None,
            ssl_keyfile=self._tls.key if self._tls else None,
        )
        self._server = uvicorn.Server(config)
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._server, self._socket, started),
            name="apiserver",
            daemon=True,
        )
        self._thread.start()
        if not started.wait(START_S):
            raise TimeoutError("the API server did not start")
        return self

    def _run(
        self, server: uvicorn.Server, listening: socket.socket, started: threading.Event
    ) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            started.set()  # the socket listens: a client that comes now is served in a moment
            await server.serve(sockets=[listening])
            # Over TLS whoever is gone without a word would be waited for.
            for one in tuple(server.server_state.connections):
                if one.transport is not None:
                    one.transport.abort()
            await asyncio.sleep(END_S)

        asyncio.run(serve())

    def stop(self) -> None:
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self.faults.watch_epoch += 1
        self.call(self.api.store.wake_all)
        server.should_exit = True
        thread.join(START_S)
        self._server = self._thread = self._loop = None
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def call(self, act: Callable[[], T]) -> T:
        """Do something on the loop of the server, where all state lives."""
        loop = self._loop
        assert loop is not None, "the server does not run"

        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), loop).result(START_S)

    # --- faults that need the loop ---

    def drop_watches(self, *, cut_short: bool = False) -> None:
        """End all open watches now."""
        self.faults.drop_watches(cut_short=cut_short)
        self.call(self.api.store.wake_all)

    def compact(self) -> None:
        """Forget what happened: a watch from an older revision gets 410."""

        def act() -> None:
            self.api.store.tick()
            self.api.store.compact()

        self.call(act)

    def stale_lists(self) -> None:
        """From now on lists that do not ask for the newest state get that of this moment, as from
        a server whose cache lags behind; `faults.clear()` ends it.
        """

        def act() -> None:
            self.faults.stale_at = self.api.store.keep_all()

        self.call(act)

    def refuse_connections(self) -> None:
        """Close the port and cut every connection, until `accept_connections`."""
        self.stop()

    def accept_connections(self) -> None:
        """Open the same port again; all objects are still there."""
        self.start()

    # --- clients ---

    def account_token(self, namespace: str, name: str) -> str:
        """A bearer token of a service account."""
        return self.call(lambda: self.api.account_token(namespace, name))

    def kubeconfig(self, token: str | None = None) -> Object:
        """For any client of Kubernetes; by default for one who may do everything."""
        token = self.admin_token if token is None else token
        cluster: Object = {"server": self.url}
        if self._tls:
            ca = base64.b64encode(self._tls.ca.read_bytes()).decode()
            cluster["certificate-authority-data"] = ca
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
            "contexts": [
                {
                    "name": "test",
                    "context": {"cluster": "test", "user": "test", "namespace": "default"},
                }
            ],
        }

    def write_kubeconfig(self, path: Path, token: str | None = None) -> Path:
        path.write_text(yaml.safe_dump(self.kubeconfig(token)))
        path.chmod(0o600)
        return path


def _source(seed: int, faults: Faults) -> Source:
    chance = random.Random(seed)

    def now() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=faults.skew_s)

    return Source(
        now=now,
        uid=lambda: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        suffix=lambda: "".join(chance.choices(_LETTERS, k=5)),
    )
