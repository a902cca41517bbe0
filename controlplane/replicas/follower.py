"""The end of a replica that follows: takes over what is told, and hands on what Envoys report."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc
import structlog

from controlplane.errors import WeirError
from controlplane.model import Handover, Leader
from controlplane.replicas.messages import (
    MOST_BYTES,
    PROTOCOL,
    AccessLogs,
    Fleet,
    Frozen,
    Goodbye,
    Hello,
    LoadReport,
    Roll,
    State,
    Told,
    down,
    encoded,
)
from controlplane.replicas.refused import Shared, Telling, earlier
from controlplane.replicas.server import METHOD, SERVICE
from controlplane.replicas.states import handover
from controlplane.xds.certificates import Material
from controlplane.xds.reloaded import Reloaded
from controlplane.xds.server import is_loopback

logger = structlog.get_logger(__name__)

ROLL_S = 1.0
"""Between two rolls."""
SILENT_S = 4.0
"""Whoever decides speaks once a second; after so long without a word he is not there."""
WRITE_S = 4.0
CONNECT_S = 3.0
GOODBYE_S = 0.5
MOST_WAITING = 8 << 20
"""Bytes of reports that may wait to be handed on."""
MOST_STATES = 200_000
"""Services in one whole."""
_AT_ONCE = 50
"""States that are read between two looks at everything else."""

Fleets = Callable[[], Awaitable[Mapping[str, Fleet]]]
"""The Envoys that are served here, by fleet."""
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class LostError(WeirError):
    """The stream ended, or cannot be had."""


class Follows(Protocol):
    """Who takes over what is told."""

    async def __call__(self, handed: Sequence[Handover], percent: float, *, whole: bool) -> None:
        """Have this in force. `whole`: there are no other services."""
        ...


class Follower:
    """One stream at a time, to whoever decides."""

    def __init__(
        self,
        identity: str,
        take: Follows,
        fleets: Fleets,
        *,
        switched: Callable[[], Frozen],
        shared: Shared,
        clock: Callable[[], float],
        files: Reloaded[Material] | None = None,
        name: str = "",
    ) -> None:
        """With `files` over mutual TLS, and the other end must have the DNS name `name`."""
        self._identity = identity
        self._take = take
        self._fleets = fleets
        self._switched = switched
        self._shared = shared
        self._clock = clock
        self._files = files
        self._name = name
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._leaving = False
        self._idle = asyncio.Event()
        """No stream is open."""
        self._idle.set()
        self.live = False
        """Whether what is in force there is in force here."""
        self.frozen: tuple[str, Frozen] = ("", Frozen())
        """What is frozen at the replica that decides, or at the last that was heard."""
        self.followers: tuple[str, ...] = ()
        """Who followed as we did, when that was heard last."""
        self.epoch = 0
        """The greatest that was heard of."""

    def post(self, report: AccessLogs | LoadReport) -> bool:
        """Hand on a report, or say that it cannot be: nobody is followed, or too much waits."""
        if not self.live or self._size > MOST_WAITING:
            return False
        body = encoded(report)
        self._waiting.append(body)
        self._size += len(body)
        self._wake.set()
        return True

    def know(self, epoch: int) -> None:
        """Of an earlier one than this nothing is taken any more."""
        self.epoch = max(self.epoch, epoch)

    async def follow(self, leader: Leader) -> None:
        """Until the stream ends; `LostError` says why."""
        if self._files is None and not is_loopback(leader.address):
            raise LostError(f"{leader.address} is not of this machine, and there is no TLS")
        self.know(leader.epoch)
        self._idle.clear()
        try:
            async with self._channel(leader.address) as channel:
                await self._stream(channel, leader)
        except grpc.aio.AioRpcError as error:
            raise LostError(f"{error.code().name}: {error.details()}") from error
        except (asyncio.InvalidStateError, grpc.aio.BaseError) as error:  # it had ended already
            raise LostError(str(error)) from error
        finally:
            self.live = False
            self._waiting.clear()
            self._size = 0
            self._idle.set()

    async def leave(self) -> None:
        """Say goodbye: what our Envoys have is not waited for."""
        self._leaving = True
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * GOODBYE_S):
                await self._idle.wait()

    async def _stream(self, channel: Any, leader: Leader) -> None:  # noqa: ANN401
        call: Any = channel.stream_stream(f"/{SERVICE}/{METHOD}")()
        try:
            await _within(CONNECT_S, call.wait_for_connection(), "no connection")
            hello = Hello(PROTOCOL, self._identity, leader.epoch)
            await _within(WRITE_S, call.write(encoded(hello)), "nothing is taken")
            telling = Telling()
            both = [
                asyncio.create_task(self._hear(call, leader, telling)),
                asyncio.create_task(self._hand(call, telling)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in both:  # who hears knows best why it ended
                    if task.done():
                        task.result()
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            call.cancel()

    async def _hear(self, call: Any, leader: Leader, telling: Telling) -> None:  # noqa: ANN401
        states: list[State] = []
        while True:
            raw = await _within(SILENT_S, call.read(), "nothing is said")
            if raw is _EOF:
                raise LostError(f"{(await call.code()).name}: {await call.details()}")
            told = down(raw)
            if told.epoch < self.epoch:
                raise LostError(f"of epoch {told.epoch}, when {self.epoch} has begun")
            self.know(told.epoch)
            if told.refused:
                refused = earlier(told.refused)
                telling.heard(refused)
                self._shared.hear(refused, leads=True)
            states += told.states
            if len(states) > MOST_STATES:
                raise LostError(f"more than {MOST_STATES} services")
            if not told.more:
                self.followers = told.followers
                if told.frozen is not None:
                    self.frozen = (leader.identity, told.frozen)
                await self._take_over(states, told)
                states = []

    async def _take_over(self, states: Sequence[State], told: Told) -> None:
        handed: list[Handover] = []
        for index, one in enumerate(states):
            try:
                handed.append(handover(one, self._clock()))
            except (ValueError, TypeError) as error:
                logger.warning("a state is not taken over", service=one.service, why=str(error))
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        await self._take(handed, told.percent, whole=told.whole)
        self.live = True

    async def _hand(self, call: Any, telling: Telling) -> None:  # noqa: ANN401
        """One message at a time: while the other end is slow reports wait here, so many of them.
        Where our Envoys stand comes first: by any `Roll` it counts as told."""
        known: Mapping[str, Fleet] = {}
        frozen: Frozen | None = None
        roll_s = self._clock()
        while not self._leaving:
            if self._clock() >= roll_s:
                found, now = await self._fleets(), self._switched()
                roll = _roll(known, found, now if now != frozen else None)
                await _within(WRITE_S, call.write(roll), "nothing is taken")
                for refused in telling.parts(self._shared.offered) if self.live else ():
                    body = encoded(Roll({}, refused=refused))
                    await _within(WRITE_S, call.write(body), "nothing is taken")
                known, frozen, roll_s = found, now, self._clock() + ROLL_S
            elif self._waiting:
                body = self._waiting.popleft()
                self._size -= len(body)
                await _within(WRITE_S, call.write(body), "nothing is taken")
            else:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(roll_s - self._clock()):
                        await self._wake.wait()
        await _within(GOODBYE_S, call.write(encoded(Goodbye())), "nothing is taken")
        await _within(GOODBYE_S, call.done_writing(), "nothing is taken")
        await _within(GOODBYE_S, call.code(), "no goodbye comes back")

    def _channel(self, address: str) -> Any:  # noqa: ANN401 (its types want serializers)
        """A connection of its own, with the certificate of now."""
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", MOST_BYTES),
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 3_000),
        ]
        if self._files is None:
            return grpc.aio.insecure_channel(address, options=options)
        material = self._files.look()
        credentials = grpc.ssl_channel_credentials(
            material.client_ca, material.key, material.certificate
        )
        options.append(("grpc.ssl_target_name_override", self._name))
        return grpc.aio.secure_channel(address, credentials, options=options)


def _roll(known: Mapping[str, Fleet], now: Mapping[str, Fleet], frozen: Frozen | None) -> bytes:
    """What differs; it may be nothing, and then says that we are here."""
    changed = {fleet: one for fleet, one in now.items() if known.get(fleet) != one}
    return encoded(Roll(changed, tuple(known.keys() - now.keys()), frozen))


async def _within(seconds: float, what: Awaitable[Any], otherwise: str) -> Any:  # noqa: ANN401
    try:
        async with asyncio.timeout(seconds):
            return await what
    except TimeoutError:
        raise LostError(f"{otherwise} within {seconds:g} s") from None
