"""A port of a pod through the API server: SPDY in a WebSocket, as kubectl has it since 1.31.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets
https://datatracker.ietf.org/doc/html/rfc6455

For each connection the client opens a stream for errors, then one for data, with the same number.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from typing import Any
from urllib.parse import urlsplit

from tests.kubernetes.apiserver import access, errors, reads, requests, spdy
from tests.kubernetes.apiserver.access import Wish
from tests.kubernetes.apiserver.api import Api
from tests.kubernetes.apiserver.errors import ApiError

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK = 65_536
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


def protocol_of(api: Api) -> type[asyncio.Protocol]:
    """What uvicorn hands a connection to that is to be a WebSocket."""

    class Bound(PortForward):
        cluster = api

    return Bound


class PortForward(asyncio.Protocol):
    """One connection."""

    cluster: Api

    def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:  # noqa: ANN401
        del config, app_state
        self._connections: set[Any] = server_state.connections
        self._messages = b""
        self._open = False
        self._frames, self._say = spdy.Reader(), spdy.Writer()
        self._errors: dict[str, int] = {}
        self._sockets: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def shutdown(self) -> None:
        """As uvicorn ends its connections."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._messages += data
        if not self._open:
            head, end, rest = self._messages.partition(b"\r\n\r\n")
            if not end:
                return
            self._messages = rest
            try:
                self._begin(head.decode("latin-1"))
            except ApiError as error:
                text = str(error).encode()
                lines = f"HTTP/1.1 {error.code} Refused\r\ncontent-length: {len(text)}\r\n\r\n"
                self._transport.write(lines.encode() + text)
                self._transport.close()
                return
        while (message := self._message()) is not None:
            kind, body = message
            if kind == _BINARY or kind == 0:
                for frame in self._frames.feed(body):
                    self._take(frame)
            elif kind == _PING:
                self._send(body, _PONG)
            elif kind == _CLOSE:
                self._transport.close()

    def _begin(self, head: str) -> None:
        line, *rest = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (one.partition(":") for one in rest)}
        api = self.cluster
        request = requests.parse(method, urlsplit(target).path, {}, headers)
        if (request.plural, request.part) != ("pods", "portforward"):
            raise errors.no_such_path()
        user = access.authenticate(headers, api.tokens)
        wish = Wish("create", "", "pods/portforward", request.namespace, request.name)
        access.authorize(api.store, user, wish)
        reads.existing(api.store, request, api.kinds.find("", "v1", "pods"))
        offered = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",")]
        if PROTOCOL not in offered:
            raise errors.bad_request(f"unable to negotiate protocol: want {PROTOCOL}")
        self._pod = (request.namespace, request.name)
        key = hashlib.sha1(headers["sec-websocket-key"].encode() + _MAGIC, usedforsecurity=False)
        accept = base64.b64encode(key.digest()).decode()
        self._transport.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n".encode()
        )
        self._open = True

    def _message(self) -> tuple[int, bytes] | None:
        """The next frame of the WebSocket, unmasked; None: it is not whole yet."""
        data = self._messages
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        for mark, form in ((126, ">H"), (127, ">Q")):
            if size == mark:
                more = struct.calcsize(form)
                if len(data) < at + more:
                    return None
                (size,) = struct.unpack_from(form, data, at)
                at += more
                break
        mask = data[at : at + 4]
        at += 4
        if len(data) < at + size:
            return None
        self._messages = data[at + size :]
        body = data[at : at + size]
        key = int.from_bytes((mask * (size // 4 + 1))[:size])
        return data[0] & 0x0F, (int.from_bytes(body) ^ key).to_bytes(size)

    def _send(self, body: bytes, kind: int = _BINARY) -> None:
        size = len(body)
        if size < 126:
            head = struct.pack(">BB", 0x80 | kind, size)
        elif size < 1 << 16:
            head = struct.pack(">BBH", 0x80 | kind, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, 127, size)
        if not self._transport.is_closing():
            self._transport.write(head + body)

    def _take(self, frame: spdy.Frame) -> None:
        if frame.kind == spdy.SYN_STREAM:
            self._send(self._say.reply(frame.stream))
            self._join(frame)
        elif frame.kind == spdy.PING:
            self._send(self._say.ping(frame.data))
        elif frame.stream in self._sockets:
            if frame.data and not frame.kind:
                self._sockets[frame.stream].put_nowait(frame.data)
            if frame.fin or frame.kind == spdy.RST_STREAM:
                self._sockets[frame.stream].put_nowait(None)

    def _join(self, frame: spdy.Frame) -> None:
        number = frame.headers.get("requestid", "")
        if frame.headers.get("streamtype") == "error":
            self._errors[number] = frame.stream
            return
        queue = self._sockets[frame.stream] = asyncio.Queue()
        error, port = self._errors.pop(number), int(frame.headers["port"])
        task = asyncio.create_task(self._carry(frame.stream, error, port, queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, stream: int, error: int, port: int, queue: asyncio.Queue[bytes | None]
    ) -> None:
        target = self.cluster.kubelet.ports.get((*self._pod, port))
        words = b""
        try:
            if target is None:
                raise ConnectionRefusedError("connection refused")
            reader, writer = await asyncio.open_connection(*target)
            with contextlib.closing(writer):
                sending = asyncio.create_task(_sent(queue, writer))
                while chunk := await reader.read(_CHUNK):
                    self._send(self._say.data(stream, chunk))
                sending.cancel()
        except OSError as problem:
            words = f"error forwarding port {port} to pod: {problem}".encode()
        self._send(self._say.data(stream, b"", fin=True))
        self._send(self._say.data(error, words, fin=True))
        self._sockets.pop(stream, None)


async def _sent(queue: asyncio.Queue[bytes | None], writer: asyncio.StreamWriter) -> None:
    while (data := await queue.get()) is not None:
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
