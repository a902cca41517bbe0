"""One stream on the wire: its machine, what waits to be written, and the one task that writes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc

from controlplane.xds.effects import Acked, Close, Effect, Nacked, Request, Send, TypeStatus
from controlplane.xds.envelope import Node, response
from controlplane.xds.report import Report, reports
from controlplane.xds.status import Client, Counts, Event, Nack, Observer, Refusal, UnknownType
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream, View
from controlplane.xds.timeline import Timeline, since

Context = Any  # grpc.aio.ServicerContext, which has no types here
_ABORT_S = 3.0
"""How long the end of a stream may take to be written. Cut off, its client is not told why."""


async def end(context: Context, code: str, message: str) -> None:
    """End a stream with this status."""
    try:
        await context.abort(getattr(grpc.StatusCode, code), message)
    except grpc.aio.BaseError as error:
        # gRPC keeps it, in a cycle that only the garbage collector ends: not with the request that
        # was too large, and whatever else the frames hold that it came through.
        error.__context__ = error.__traceback__ = None


class Connection:
    """What the server holds of a connected client.

    There is never more than one write under way. The outbox is short by construction: the machine
    has at most one unanswered response per type, and who answers one that is still in it is closed
    (nonces can be guessed).
    """

    __slots__ = (
        "_context",
        "_counts",
        "_flushing",
        "_group_counts",
        "_observe",
        "_outbox",
        "_stream",
        "_task",
        "_timeline",
        "awaiting_since_s",
        "closed",
        "group",
        "mode",
        "node",
        "since_s",
        "writing_since_s",
    )

    def __init__(
        self,
        context: Context,
        mode: Mode,
        node: Node,
        group: str,
        view: View,
        max_names: int,
        counts: Counts,
        observe: Observer | None,
    ) -> None:
        self._context = context
        self._stream = Stream(mode, view, max_names=max_names)
        self._counts = counts
        self._group_counts = counts.group(group)
        self._observe = observe
        self._outbox: deque[tuple[str, bytes]] = deque()  # nonce, response
        self._flushing: asyncio.Task[None] | None = None
        self._task = asyncio.current_task()
        self.mode = mode
        self.node = node
        self.group = group
        self.since_s = time.monotonic()
        self._timeline = Timeline(self.since_s)
        self.writing_since_s: float | None = None
        """When the write under way began."""
        self.awaiting_since_s: float | None = None
        """When it was first found that routes wait for clusters."""
        self.closed = False

    def on_request(self, request: Request) -> Close | None:
        """A request arrived. The stream is to be ended when a `Close` is returned."""
        if any(request.nonce == nonce for nonce, _ in self._outbox):
            return Close("INVALID_ARGUMENT", "the client answers what it cannot have read")
        self._timeline.asked(request.type_url, time.monotonic())
        return self._apply(self._stream.on_request(request))

    def on_view(self, view: View) -> None:
        """The snapshot of the group changed."""
        self._timeline.changed_s = time.monotonic()
        self._apply(self._stream.on_view(view))

    def on_time(self, now_s: float, patience_s: float) -> None:
        """Routes that have waited this long for their clusters go out without them; what the client
        may have refused is tried again.
        """
        if not self._stream.awaits():
            self.awaiting_since_s = None
        elif self.awaiting_since_s is None:
            self.awaiting_since_s = now_s
        elif now_s - self.awaiting_since_s > patience_s:
            self.awaiting_since_s = None
            self._apply(self._stream.on_deadline())
        if self._stream.pauses():
            self._apply(self._stream.on_pause())

    def client(self) -> Client:
        """Where the client stands."""
        return Client(
            self.node,
            self.group,
            self.mode,
            self._context.peer(),
            self.since_s,
            self._stream.status(),
            {url: replace(times) for url, times in self._timeline.by_type.items()},
            self._timeline.changed_s,
        )

    def types(self) -> Iterator[tuple[TypeStatus, float]]:
        """Of `client`, what a scrape of the metrics asks of each: a type, and since when it is in
        the state that it is in."""
        times = self._timeline
        for one in self._stream.status():
            yield one, since(one, times.by_type, times.changed_s)

    def reports(self) -> Iterator[Report]:
        """Every resource that the client should have or has."""
        return reports(self._stream.standings())

    def asked(self, type_url: str) -> frozenset[str]:
        """The names of a type that the client asked for, besides `*`."""
        for standing, _ in self._stream.standings():
            if standing.kind.type_url == type_url:
                return standing.wants.names
        return frozenset()

    async def close(self, code: str, message: str) -> None:
        """End the stream with this status, from any task; who does not read is cut off."""
        if self.closed:
            return
        self.closed = True
        self._count_refusal(code, message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_S):
                await end(self._context, code, message)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def cut(self) -> None:
        """End the stream without a word, at once."""
        self.closed = True
        if self._task is not None:
            self._task.cancel()

    def release(self) -> None:
        """The stream has ended."""
        self.closed = True
        self._outbox.clear()
        if self._flushing is not None:
            self._flushing.cancel()

    def _apply(self, effects: list[Effect]) -> Close | None:
        now_s = time.monotonic()
        for effect in effects:
            if isinstance(effect, Send):
                raw = response(self.mode, effect)
                self._group_counts.of(effect.type_url).sent(len(raw), now_s)
                self._outbox.append((effect.nonce, raw))
            elif isinstance(effect, Acked):
                self._group_counts.of(effect.type_url).acked(now_s, self._sent_s(effect))
            elif isinstance(effect, Nacked):
                self._group_counts.of(effect.type_url).nacked(now_s, self._sent_s(effect))
                self._tell(
                    Nack(self.node, self.group, effect.type_url, effect.version, effect.message)
                )
            elif isinstance(effect, Close):
                return effect
            else:
                self._group_counts.unknown_types += 1
                self._tell(UnknownType(self.node, self.group, effect.type_url))
            self._timeline.note(effect, now_s)
        if self._outbox and self._flushing is None and not self.closed:
            self._flushing = asyncio.create_task(self._flush())
        return None

    def _sent_s(self, answer: Acked | Nacked) -> float | None:
        times = self._timeline.by_type.get(answer.type_url)
        return times.sent_s if times is not None else None

    async def _flush(self) -> None:
        """Write what waits; the sweep of the server sees to it that this ends."""
        try:
            while self._outbox:
                self.writing_since_s = time.monotonic()
                await self._context.write(self._outbox.popleft()[1])
        except grpc.aio.BaseError:
            self._outbox.clear()  # the client is gone; its reader hears of it too
        finally:
            self.writing_since_s = None
            self._flushing = None

    def _count_refusal(self, code: str, message: str) -> None:
        self._counts.refused[code] = self._counts.refused.get(code, 0) + 1
        self._tell(Refusal(self.node, self.group, code, message))

    def _tell(self, event: Event) -> None:
        if self._observe is not None:
            self._observe(event)
