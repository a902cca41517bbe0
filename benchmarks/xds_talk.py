"""Ways to talk to an xDS server that no decent client has, and how the talk ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc

from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DiscoveryRequest,
    DiscoveryResponse,
)
from controlplane.xds.kinds import ENDPOINT

CROWD = "crowd"
"""The group of the offenders."""
PATIENCE_S = 5.0
SERVED = "served"

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
SOTW, DELTA = _ADS + "StreamAggregatedResources", _ADS + "DeltaAggregatedResources"
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@dataclass
class Here:
    """One storm while it is on."""

    port: int
    seconds: float
    began_s: float = field(default_factory=time.monotonic)
    got: Counter[str] = field(default_factory=Counter)
    """How many streams (or connections) ended how."""
    did: int = 0
    """Requests, or whatever they do many times."""

    @property
    def left_s(self) -> float:
        return max(0.0, self.began_s + self.seconds - time.monotonic())


# Requests


def sotw(type_url: str = ENDPOINT, names: tuple[str, ...] = (), **fields: Any) -> bytes:  # noqa: ANN401
    return DiscoveryRequest(type_url=type_url, resource_names=names, **fields).SerializeToString()


def delta(type_url: str = ENDPOINT, names: tuple[str, ...] = (), **fields: Any) -> bytes:  # noqa: ANN401
    return DeltaDiscoveryRequest(
        type_url=type_url, resource_names_subscribe=names, **fields
    ).SerializeToString()


def numbered(count: int, word: str = "name") -> tuple[str, ...]:
    return tuple(f"{word}-{number}" for number in range(count))


NODE = {"id": "offender", "cluster": CROWD}
WEB = ("cluster-0",)


# Streams


@contextlib.asynccontextmanager
async def stream(here: Here, path: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{here.port}", options=_OPTIONS) as channel:
        method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
        call = method()
        try:
            yield call
        finally:
            call.cancel()


async def ended(call: Any) -> str:  # noqa: ANN401
    """How the server ended the stream."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return f"{(await call.code()).name}: {await call.details()}"
    except TimeoutError:
        return "no status came"


_GONE = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


async def said(here: Here, requests: tuple[bytes, ...], answers: int) -> None:
    """Say this, on one stream after another: served is who gets so many answers to it."""
    while here.left_s:
        async with stream(here, SOTW) as call:
            how = SERVED
            try:
                async with asyncio.timeout(PATIENCE_S):
                    for request in requests:
                        await call.write(request)
                        here.did += 1
                    for _ in range(answers):
                        if await call.read() is grpc.aio.EOF:  # type: ignore[attr-defined]
                            how = await ended(call)
                            break
            except TimeoutError:
                how = "no answer"
            except _GONE:
                how = await ended(call)
            here.got[how] += 1


def says(*requests: bytes, answers: int = 1) -> Callable[[Here], Awaitable[None]]:
    return partial(said, requests=requests, answers=answers)


Talk = Callable[[Here, Any], Awaitable[None]]


async def lasting(here: Here, talk: Talk, *, path: str = SOTW) -> None:
    """Talk on one stream for as long as the storm goes on; on another where it is ended."""
    while here.left_s:
        async with stream(here, path) as call:
            try:
                async with asyncio.timeout(here.left_s):
                    await talk(here, call)
                how = await ended(call)
            except TimeoutError:
                how = SERVED
            except _GONE:
                how = await ended(call)
            here.got[how] += 1


class Heard:
    """Reads all answers of a stream beside what is written, and keeps the last nonce."""

    def __init__(self, call: Any, response: Any) -> None:  # noqa: ANN401
        self._call, self._response = call, response
        self.nonce = ""

    async def listen(self) -> None:
        while (raw := await self._call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            self.nonce = self._response.FromString(raw).nonce


async def flooding(
    here: Here,
    call: Any,  # noqa: ANN401
    first: bytes,
    next_request: Callable[[str, int], bytes],
    response: Any = DiscoveryResponse,  # noqa: ANN401
) -> None:
    """Write without waiting for answers, which are read beside; requests are made from the last
    nonce and a running number."""
    heard = Heard(call, response)
    await call.write(first)
    listening = asyncio.create_task(heard.listen())
    try:
        for number in itertools.count():
            await call.write(next_request(heard.nonce, number))
            here.did += 1
            if number % 64 == 0:
                await asyncio.sleep(0)
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        if not listening.cancelled():
            listening.exception()


def flood(
    first: bytes,
    next_request: Callable[[str, int], bytes],
    *,
    path: str = SOTW,
    response: Any = DiscoveryResponse,  # noqa: ANN401
) -> Callable[[Here], Awaitable[None]]:
    talk = partial(flooding, first=first, next_request=next_request, response=response)
    return partial(lasting, talk=talk, path=path)


async def answered(
    here: Here,
    call: Any,  # noqa: ANN401
    first: bytes,
    replies: Callable[[str, int], tuple[bytes, ...]],
    response: Any = DiscoveryResponse,  # noqa: ANN401
) -> None:
    """Reply to every answer at once."""
    await call.write(first)
    for number in itertools.count():
        raw = await call.read()
        if raw is grpc.aio.EOF:  # type: ignore[attr-defined]
            return
        for reply in replies(response.FromString(raw).nonce, number):
            await call.write(reply)
            here.did += 1


def chat(
    first: bytes,
    replies: Callable[[str, int], tuple[bytes, ...]],
    *,
    path: str = SOTW,
    response: Any = DiscoveryResponse,  # noqa: ANN401
) -> Callable[[Here], Awaitable[None]]:
    talk = partial(answered, first=first, replies=replies, response=response)
    return partial(lasting, talk=talk, path=path)
