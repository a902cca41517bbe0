"""Two ends of a pipe, as two processes have them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from controlplane.errors import WeirError
from controlplane.front import channel as module
from controlplane.front import messages as m
from controlplane.front.channel import Channel, GoneError
from controlplane.model import Proxy, ProxyId

LOGS = m.AccessLogs(Proxy(ProxyId("envoy-1"), "edge", 4), b"\x00\xff")


@dataclass
class End:
    """One process, as far as the other can tell."""

    took: list[m.Any] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    channel: Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = Channel(self._take, self._answer)

    async def _take(self, message: m.Any) -> None:
        self.took.append(message)

    async def _answer(self, question: m.Question) -> object:
        assert isinstance(question, m.Proxies)
        if question.node == "silent":
            await self.hold.wait()
        if question.node == "large":
            raise WeirError("ask for one type")
        return [{"node": "a", "types": {"eds": {"acked": "7"}}}]


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[End, End]]:
    here, there = End(), End()
    for end, one in zip((here, there), socket.socketpair(), strict=True):
        await end.channel.open(one)
    running = [asyncio.create_task(end.channel.run()) for end in (here, there)]
    try:
        yield here, there
    finally:
        for end in (here, there):
            end.channel.close()
        async with asyncio.timeout(5.0):
            await asyncio.gather(*running)
        await asyncio.sleep(0.01)


async def test_messages_arrive_whole_and_in_order() -> None:
    show = m.Show("edge", ("cds", "eds"), {"eds": {"a": b"\x01" * 300_000}}, {"eds": ("b",)})
    async with pair() as (here, there):
        here.channel.post(LOGS)
        await here.channel.send(show)
        here.channel.post(m.EndStage("edge"))
        async with asyncio.timeout(5.0):
            while len(there.took) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert there.took == [LOGS, show, m.EndStage("edge")]


async def test_both_may_ask_at_the_same_time() -> None:
    async with pair() as (here, there):
        answers = await asyncio.gather(
            *(end.channel.ask(m.Proxies(), list[dict[str, object]], 5.0) for end in (here, there))
        )
        assert [one[0]["node"] for one in answers] == ["a", "a"]


async def test_a_problem_of_the_other_end_is_raised_at_this_one() -> None:
    async with pair() as (here, _):
        with pytest.raises(WeirError, match="ask for one type"):
            await here.channel.ask(m.Proxies("large"), list[object], 5.0)


async def test_who_is_silent_or_goes_is_not_waited_for() -> None:
    async with pair() as (here, there):
        with pytest.raises(GoneError, match="no answer within"):
            await here.channel.ask(m.Proxies("silent"), list[object], 0.05)
        asking = asyncio.create_task(here.channel.ask(m.Proxies("silent"), list[object], 5.0))
        await asyncio.sleep(0.05)
        there.channel.close()
        with pytest.raises(GoneError, match="gone"):
            await asking
        with pytest.raises(GoneError):
            await here.channel.send(LOGS)
        assert not here.channel.post(LOGS)


async def test_too_many_questions_at_a_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ASKED", 2)
    async with pair() as (here, _):
        silent = (here.channel.ask(m.Proxies("silent"), list[object], 0.3) for _ in range(2))
        held = [asyncio.create_task(one) for one in silent]
        await asyncio.sleep(0.05)
        with pytest.raises(WeirError, match="too many"):
            await here.channel.ask(m.Proxies(), list[object], 5.0)
        assert all(
            isinstance(one, GoneError)
            for one in await asyncio.gather(*held, return_exceptions=True)
        )


async def test_what_may_be_dropped_is_dropped_while_the_other_end_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    here = End()
    await here.channel.open(ours)
    logs = m.AccessLogs(LOGS.proxy, b"x" * 1_000_000)
    written = [here.channel.post(logs) for _ in range(30)]
    assert written[0]
    assert not any(written[15:])
    here.channel.close()
    theirs.close()
    await asyncio.sleep(0.01)  # as transports close in the loop


async def test_a_message_that_cannot_be_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRAME", 10)
    ours, theirs = socket.socketpair()
    here = End()
    await here.channel.open(ours)
    theirs.send((11).to_bytes(4, "big"))
    with pytest.raises(WeirError, match="11 bytes"):
        await here.channel.run()
    theirs.close()
    await asyncio.sleep(0.01)
