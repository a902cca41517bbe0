"""The end of the replica that decides: it is followed, and takes in what the others hand on.

Each stream has one reader, which takes one message at a time, so that who sends faster than we read
is held up, and one writer, which sends the newest state of whatever changed: nothing piles up for a
replica that is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import structlog

from controlplane.errors import StartupError, TelemetryError
from controlplane.model import Handover, ServiceName
from controlplane.ports import AccessLogSink, LoadReportSink
from controlplane.replicas.leadership import Leadership
from controlplane.replicas.messages import (
    MOST_BYTES,
    PROTOCOL,
    AccessLogs,
    Frozen,
    Goodbye,
    Hello,
    LoadReport,
    Roll,
    State,
    Told,
    UnreadableError,
    Up,
    encoded,
    up,
)
from controlplane.replicas.metrics import ReplicaMetrics
from controlplane.replicas.refused import Shared, Telling, earlier
from controlplane.replicas.roll import Member, RollCall
from controlplane.replicas.states import state
from controlplane.telemetry.throttle import Throttle
from controlplane.xds.connection import end
from controlplane.xds.gate import DeniedError, Gate
from controlplane.xds.identity import Name
from controlplane.xds.reloaded import Reloaded, keep_fresh
from controlplane.xds.tls import Tls, server_credentials

logger = structlog.get_logger(__name__)

SERVICE = "weir.v1.Replicas"
METHOD = "Follow"
MOST_FOLLOWERS = 64
TELL_S = 1.0
"""Between two messages, where nothing changed."""
REFRESH_S = 5.0
"""Everything is told again within this: what is believed changes with every look."""
PART = 256 * 1024
"""Bytes of states in one message, about: to make them holds up everything else."""
HELLO_S = 5.0
SILENT_S = 5.0
"""A replica that says nothing for this long is ended; it speaks once a second."""
WRITE_S = 5.0
"""A replica that takes nothing for this long is ended."""
AGE_S = 3600.0
"""With TLS a connection is renewed after this, so that who lost his certificate does not stay."""

Context = Any  # grpc.aio.ServicerContext, which has no types here
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class Standing(Protocol):
    """How the services stand; the loop is one."""

    def names(self) -> Sequence[ServiceName]:
        """All of them."""
        ...

    def handover(self, name: ServiceName) -> Handover | None:
        """One of them; None where nothing is known of it yet."""
        ...


@dataclass(slots=True)
class _Stream:
    """One replica that follows."""

    member: Member
    behind: dict[ServiceName, None] = field(default_factory=dict)
    """Services that changed since they were told."""
    told: dict[ServiceName, None] = field(default_factory=dict)
    """All that were told, the longest ago first."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a message is written: a call whose write is cancelled half-way gets no status."""
    frozen: Frozen | None = None
    """As it was told."""
    refused: Telling = field(default_factory=Telling)


class _EndedError(Exception):
    """A stream that we end. `reason` is a short stable word for metrics."""

    def __init__(self, code: str, reason: str, words: str) -> None:
        super().__init__(words)
        self.code, self.reason = code, reason


class ReplicaServer:
    """Serves `Follow` on an address of its own."""

    def __init__(
        self,
        address: str,
        leadership: Leadership,
        roll: RollCall,
        *,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        percent: Callable[[], float],
        switched: Callable[[], Frozen],
        shared: Shared,
        clock: Callable[[], float],
        metrics: ReplicaMetrics,
        tls: Tls | None = None,
        identity: str = "",
    ) -> None:
        """Without `tls` the address must be of this machine alone. With it a replica is who has a
        certificate of the client CA with the DNS name `identity`. `percent` is how much of the
        traffic is logged, `switched` what is frozen here, `shared` knows the last valid versions of
        what is refused.
        """
        self._address = address
        self._leadership = leadership
        self._roll = roll
        self._access_logs = access_logs
        self._load_reports = load_reports
        self._percent = percent
        self._switched = switched
        self._shared = shared
        self._clock = clock
        self._metrics = metrics
        self._tls = tls
        self._identity = Name("dns", identity)
        self._gate = Gate()
        self._lines = Throttle(most=5)
        self._streams: dict[str, _Stream] = {}
        self._server: grpc.aio.Server | None = None
        self._files: Reloaded[Any] | None = None
        self._fresh: asyncio.Task[None] | None = None
        self.standing: Standing | None = None
        """Told before the first stream."""
        self.port = 0
        """The port that is listened on, once started."""

    async def start(self) -> None:
        """Listen. Raises `StartupError`."""
        server = grpc.aio.server(handlers=[self._handler()], options=_options(self._tls))
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(self._address)
            else:
                self._files = self._tls.open()
                self.port = server.add_secure_port(self._address, server_credentials(self._files))
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen for other replicas on {self._address}: {error}; is it taken?"
            ) from error
        await server.start()
        self._server = server
        if self._files is not None:
            fresh = keep_fresh([self._files], lambda _: None, 1.0)
            self._fresh = asyncio.create_task(fresh)

    async def stop(self) -> None:
        """End the streams, and close."""
        if self._fresh is not None:
            self._fresh.cancel()
        if self._server is not None:
            await self._server.stop(None)

    def changed(self, names: Collection[ServiceName]) -> None:
        """These have something else in force than before."""
        for stream in self._streams.values():
            stream.behind.update(dict.fromkeys(names))
            stream.wake.set()

    def _handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        method = grpc.stream_stream_rpc_method_handler(self._follow)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})

    async def _follow(self, _: object, context: Context) -> None:
        try:
            self._admit(context)
            await self._serve(context, await self._greeted(context))
        except DeniedError as why:
            await self._end(context, _EndedError(why.code, why.reason, str(why)))
        except _EndedError as why:
            await self._end(context, why)
        except UnreadableError as error:
            await self._end(context, _EndedError("INVALID_ARGUMENT", "garbage", str(error)))

    async def _end(self, context: Context, why: _EndedError) -> None:
        self._metrics.ended.labels(why.reason).inc()
        left_out = self._lines.admit(why.reason, self._clock())
        if left_out is not None:
            words, more = "a replica's stream is ended", {"not_shown_before": left_out}
            logger.warning(words, why=str(why), peer=context.peer(), **(more if left_out else {}))
        await end(context, why.code, str(why))

    def _admit(self, context: Context) -> None:
        """Whether this is a replica, and not just anybody with a certificate."""
        if self._tls is None:
            return
        peer = self._gate.peer(context)
        if self._identity not in peer.names:
            names = ", ".join(name.text for name in peer.names)[:200]
            words = f"{names or 'nobody'} is no replica: the name {self._identity.text} is wanted"
            raise _EndedError("PERMISSION_DENIED", "denied", words)

    async def _greeted(self, context: Context) -> Hello:
        """Its first message, if it may follow us."""
        hello = await _read(context, HELLO_S)
        if not isinstance(hello, Hello) or not hello.replica:
            raise UnreadableError("the first message is no greeting")
        if hello.protocol != PROTOCOL:
            words = f"protocol {hello.protocol} is spoken there and {PROTOCOL} here"
            raise _EndedError("FAILED_PRECONDITION", "protocol", words)
        self._require_lead(hello.epoch)
        if len(self._streams) >= MOST_FOLLOWERS and hello.replica not in self._streams:
            raise _EndedError("RESOURCE_EXHAUSTED", "many", f"{MOST_FOLLOWERS} replicas follow")
        return hello

    def _require_lead(self, epoch: int = 0) -> None:
        leader = self._leadership.leader
        if not self._leadership.decides or leader is None:
            raise _EndedError("FAILED_PRECONDITION", "not-deciding", "this replica does not decide")
        if epoch > leader.epoch:
            words = f"epoch {epoch} is known there, and {leader.epoch} is that of this replica"
            raise _EndedError("FAILED_PRECONDITION", "epoch", words)

    async def _serve(self, context: Context, hello: Hello) -> None:
        """A replica that follows, to its end. Whichever side ends first ends the other."""
        stream = _Stream(self._roll.join(hello.replica))
        self._streams[hello.replica] = stream
        self._metrics.followers.set(len(self._streams))
        logger.info("a replica follows", replica=hello.replica, peer=context.peer())
        both = [
            asyncio.create_task(self._hear(context, stream)),
            asyncio.create_task(self._tell(context, stream)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            await _written(stream.writing)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            if self._streams.get(hello.replica) is stream:
                del self._streams[hello.replica]
            self._roll.lose(stream.member)
            self._metrics.followers.set(len(self._streams))
            logger.info("a replica follows no more", replica=hello.replica)

    async def _hear(self, context: Context, stream: _Stream) -> None:
        while (message := await _read(context, SILENT_S)) is not None:
            self._roll.hear(stream.member, message if isinstance(message, Roll) else None)
            match message:
                case AccessLogs() | LoadReport():
                    self._take(message)
                case Goodbye():
                    self._roll.leave(stream.member)
                case Hello():
                    raise UnreadableError("a second greeting")
                case Roll() if message.refused:
                    told = earlier(message.refused)
                    stream.refused.heard(told)
                    self._shared.hear(told, leads=False)
                case Roll():
                    pass

    def _take(self, message: AccessLogs | LoadReport) -> None:
        """What cannot be read is counted, and is not to end the stream of a whole replica."""
        try:
            if isinstance(message, AccessLogs):
                self._access_logs.on_access_logs(message.proxy, message.body)
            else:
                self._load_reports.on_load_report(message.proxy, message.body, first=message.first)
        except TelemetryError:
            self._metrics.unreadable.inc()

    async def _tell(self, context: Context, stream: _Stream) -> None:
        assert self.standing is not None, "told before the first stream"
        names: Collection[ServiceName] = self.standing.names()
        whole, again_s = True, self._clock() + TELL_S
        while True:
            for message in self._messages(stream, names, whole):
                self._require_lead()
                if self._streams.get(stream.member.replica) is not stream:
                    raise _EndedError("ABORTED", "replaced", "the replica has a newer stream")
                async with stream.writing:
                    await _write(context, message)
            whole = False
            while not (stream.behind or self._clock() >= again_s):
                await _woken(stream.wake, again_s - self._clock())
            names = tuple(stream.behind)
            if self._clock() >= again_s:
                again_s = self._clock() + TELL_S
                names += _oldest(stream.told)

    def _messages(
        self, stream: _Stream, names: Collection[ServiceName], whole: bool
    ) -> Iterator[bytes]:
        """These services as they stand when each message is made, and before them what of refused
        documents was not told yet."""
        leader, standing = self._leadership.leader, self.standing
        assert standing is not None
        epoch = leader.epoch if leader is not None else 0
        for refused in stream.refused.parts(self._shared.offered):
            yield encoded(Told(epoch, self._percent(), (), whole, more=True, refused=refused))
        states: list[State] = []
        size = 0
        for name in names:
            stream.behind.pop(name, None)
            stream.told.pop(name, None)
            one = standing.handover(name)
            if one is None:
                continue
            stream.told[name] = None
            states.append(state(one, self._clock()))
            size += len(states[-1].document) + len(states[-1].table)
            if size > PART:
                yield encoded(Told(epoch, self._percent(), tuple(states), whole, more=True))
                states, size = [], 0
        frozen = self._switched()
        news = frozen if frozen != stream.frozen else None
        stream.frozen = frozen
        followers = tuple(self._roll.names)
        told = Told(epoch, self._percent(), tuple(states), whole, False, news, followers)
        yield encoded(told)


def _oldest(told: Collection[ServiceName]) -> tuple[ServiceName, ...]:
    """Those whose turn it is to be told again."""
    return tuple(itertools.islice(told, math.ceil(len(told) * TELL_S / REFRESH_S)))


async def _woken(wake: asyncio.Event, within_s: float) -> None:
    wake.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await wake.wait()


async def _written(writing: asyncio.Lock) -> None:
    """Until the message that is being written is, or will not be."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WRITE_S), writing:
            pass


async def _write(context: Context, message: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_S):
            await context.write(message)
    except TimeoutError:
        words = f"nothing was taken for {WRITE_S:g} s"
        raise _EndedError("DEADLINE_EXCEEDED", "slow", words) from None


async def _read(context: Context, within_s: float) -> Up | None:
    """None at the end."""
    try:
        async with asyncio.timeout(within_s):
            raw: Any = await context.read()
    except TimeoutError:
        words = f"nothing was said for {within_s:g} s"
        raise _EndedError("DEADLINE_EXCEEDED", "silent", words) from None
    return None if raw is _EOF else up(raw)


def _options(tls: Tls | None) -> list[tuple[str, int]]:
    aged = [
        ("grpc.max_connection_age_ms", int(AGE_S * 1000)),
        ("grpc.max_connection_age_grace_ms", 1000),
    ]
    return [
        *(aged if tls is not None else ()),
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_connection_idle_ms", 5_000),
        ("grpc.so_reuseport", 0),  # else a port that is taken is no error
        ("grpc.max_concurrent_streams", 4),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", MOST_BYTES),
        ("grpc.max_metadata_size", 8192),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
    ]
