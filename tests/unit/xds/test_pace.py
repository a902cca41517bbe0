"""How much of the time a stream may have."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.xds.pace import Pace

pytestmark = [pytest.mark.looptime]


def now() -> float:
    return asyncio.get_running_loop().time()


async def rested_s(pace: Pace, *requests_s: float) -> float:
    """How long these requests, one after the other, are followed by rests in all."""
    began_s = now()
    for took_s in requests_s:
        await pace.after(took_s)
    return now() - began_s


async def test_small_requests_and_some_large_ones_go_through_at_once() -> None:
    pace = Pace(asyncio.Lock(), now)
    assert await rested_s(pace, *([0.001] * 10_000), *([0.04] * 6)) == 0.0


async def test_who_goes_on_with_large_ones_rests_after_each() -> None:
    pace = Pace(asyncio.Lock(), now)
    assert await rested_s(pace, *([0.04] * 16)) == pytest.approx(10 * 3 * 0.04)


async def test_many_such_streams_rest_one_after_the_other() -> None:
    lock = asyncio.Lock()
    paces = [Pace(lock, now) for _ in range(10)]
    began_s = now()
    await asyncio.gather(*(pace.after(1.0) for pace in paces))
    assert now() - began_s == pytest.approx(30.0)


async def test_after_a_quiet_while_a_stream_may_ask_for_much_again() -> None:
    pace = Pace(asyncio.Lock(), now)
    await rested_s(pace, *([0.04] * 7))
    await asyncio.sleep(30.0)
    assert await rested_s(pace, *([0.04] * 6)) == 0.0
