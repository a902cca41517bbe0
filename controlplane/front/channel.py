"""Messages both ways between two processes over a socket pair.

A frame is four bytes of length (big endian) and a message. Who writes is held up while too much
waits (`send`), or the message is dropped (`post`); nothing piles up.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from controlplane.errors import WeirError
from controlplane.front.messages import Answer, Any, Ask, Question

MAX_FRAME = 1 << 28
"""Bytes of a message. Both ends are ours: it is here so that a fault does not eat all memory."""
MAX_WAITING = 8 << 20
"""Bytes that may wait to be written before `post` drops."""
MAX_ASKED = 256
"""Questions of the other end that are being answered at a time."""

T = TypeVar("T")


class GoneError(WeirError):
    """The other end is gone, or silent."""


class Channel:
    """One end. `run` reads; it belongs to one task."""

    def __init__(
        self,
        take: Callable[[Any], Awaitable[None]],
        answer: Callable[[Question], Awaitable[object]],
    ) -> None:
        """`take` gets what is no question, one after the other; `answer` may raise `WeirError`."""
        self._take = take
        self._answer = answer
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Any)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self, end: socket.socket) -> None:
        """Take over this end of a socket pair."""
        end.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=end)

    def post(self, message: Any) -> bool:
        """Write a message, or drop it where too much waits. Never blocks."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return False
        if writer.transport.get_write_buffer_size() > MAX_WAITING:
            return False
        self._write(writer, message)
        return True

    def tell(self, message: Any) -> None:
        """Write a message however much waits: for what is said once."""
        if self._writer is not None and not self._writer.is_closing():
            self._write(self._writer, message)

    async def send(self, message: Any) -> None:
        """Write a message, and wait until there is room for another. Raises `GoneError`."""
        writer = self._writer
        if writer is None or writer.is_closing():
            raise GoneError("the other process is gone")
        self._write(writer, message)
        try:
            await writer.drain()
        except OSError as error:
            raise GoneError(f"the other process is gone: {error}") from error

    async def ask(self, question: Question, wanted: type[T], deadline_s: float) -> T:
        """Raises `WeirError` with the problem of the other end; `GoneError` where it is silent."""
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() > MAX_WAITING:
            raise GoneError("too much waits to be written")
        number = next(self._numbers)
        answered = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(deadline_s):
                await self.send(Ask(number, question))
                answer = await answered
        except TimeoutError:
            raise GoneError(f"no answer within {deadline_s:g} s") from None
        finally:
            del self._asked[number]
        if answer.problem:
            raise WeirError(answer.problem)
        return msgspec.msgpack.decode(answer.body, type=wanted)

    async def run(self) -> None:
        """Read until the other end is closed."""
        reader = self._reader
        assert reader is not None, "open first"
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                if size > MAX_FRAME:
                    raise WeirError(f"a message of {size} bytes between processes")
                await self._on_message(self._decoder.decode(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Let go of this end; who waits for an answer is told."""
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(GoneError("the other process is gone"))
        for task in self._answering:
            task.cancel()
        if self._writer is not None:
            self._writer.transport.abort()  # what waits to be written has no reader

    async def _on_message(self, message: Any) -> None:
        if isinstance(message, Answer):
            waiting = self._asked.get(message.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif isinstance(message, Ask):
            if len(self._answering) >= MAX_ASKED:
                self.post(Answer(message.number, b"", "too many questions at a time"))
                return
            task = asyncio.create_task(self._reply(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            await self._take(message)

    async def _reply(self, asked: Ask) -> None:
        try:
            body = self._encoder.encode(await self._answer(asked.question))
            reply = Answer(asked.number, body)
        except WeirError as error:
            reply = Answer(asked.number, b"", str(error) or type(error).__name__)
        with contextlib.suppress(GoneError):
            await self.send(reply)

    def _write(self, writer: asyncio.StreamWriter, message: Any) -> None:
        body = self._encoder.encode(message)
        writer.write(len(body).to_bytes(4, "big"))
        writer.write(body)
