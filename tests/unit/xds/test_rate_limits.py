"""The rate limit service on the wire: who may ask, how much, and what comes of bad questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from controlplane.errors import RateLimitError, WeirError
from controlplane.xds.gate import Gate
from controlplane.xds.rate_limits import MAX_BYTES, MAX_WAITING, SERVICE, RateLimitService
from controlplane.xds.status import Event, Refusal
from controlplane.xds.telemetry import TelemetryMetrics
from tests.unit.xds.test_security import metric, tokens

Status = grpc.StatusCode


class Deciding:
    """Answers what it is asked; or raises, or never answers, when told to."""

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def decide(self, request: bytes) -> bytes:
        await self.go_on.wait()
        if self.failing is not None:
            raise self.failing
        return request


class Served:
    def __init__(self) -> None:
        self.limiter, self.registry = Deciding(), CollectorRegistry()
        self.events: list[Event] = []
        self.ask: Any = None

    async def refused(self, request: bytes, reason: str) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(request, timeout=10.0)
        name = "weir_telemetry_streams_closed_total"
        assert metric(self.registry, name, service="rate_limits", reason=reason) == 1.0
        return caught.value.code()


@contextlib.asynccontextmanager
async def serving(gate: Gate | None = None) -> AsyncIterator[Served]:
    it, server = Served(), grpc.aio.server()
    service = RateLimitService(
        it.limiter, TelemetryMetrics(it.registry), gate, lambda event: it.events.append(event)
    )
    server.add_generic_rpc_handlers((service.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            it.ask = channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")  # type: ignore[call-arg]
            yield it
    finally:
        await server.stop(None)


async def test_bytes_go_to_the_limiter_and_back() -> None:
    async with serving() as it:
        assert await it.ask(b"any bytes", timeout=10.0) == b"any bytes"


async def test_who_proves_no_name_where_one_is_wanted_is_not_answered(tmp_path: Path) -> None:
    async with serving(Gate(tokens=tokens(tmp_path))) as it:
        assert await it.refused(b"", "unauthenticated") is Status.UNAUTHENTICATED
        (refusal,) = it.events
        assert isinstance(refusal, Refusal)
        assert refusal.code == "UNAUTHENTICATED"


async def test_what_cannot_be_read_or_decided_is_said() -> None:
    async with serving() as it:
        it.limiter.failing = RateLimitError("not a RateLimitRequest")
        assert await it.refused(b"", "garbage") is Status.INVALID_ARGUMENT
        it.limiter.failing = WeirError("the deciding process is gone")
        assert await it.refused(b"", "undecided") is Status.UNAVAILABLE


async def test_a_question_that_is_too_large_is_refused() -> None:
    async with serving() as it:
        assert await it.refused(b"x" * (MAX_BYTES + 1), "size") is Status.RESOURCE_EXHAUSTED


async def test_no_more_than_so_many_wait() -> None:
    async with serving() as it:
        it.limiter.go_on.clear()
        asked = [asyncio.create_task(it.refused(b"", "waiting")) for _ in range(MAX_WAITING + 1)]
        ended, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result() for one in ended] == [Status.RESOURCE_EXHAUSTED]
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
