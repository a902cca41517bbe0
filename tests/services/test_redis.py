"""Rate limits counted in a real Redis: alike with those in memory, shared, and when it is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.errors import ConfigurationError, StoreError
from controlplane.lab.redis import Redis, run_redis
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.redis import RedisCounters
from controlplane.limits.windows import Take
from tests.envoy.edge import until

pytestmark = pytest.mark.redis

NOW_S = 1_800_000 * 3600.0
PATIENT_S = 10.0


@pytest_asyncio.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    async with run_redis(tmp_path) as one:
        yield one


async def test_it_counts_as_memory_does(redis: Redis) -> None:
    """The same takes, drawn at random, get the same answers."""
    chance, memory = random.Random(4), MemoryCounters()
    counters, now_s = RedisCounters(redis.url, deadline_s=PATIENT_S), NOW_S
    refused = 0
    for _ in range(600):
        now_s += chance.choice([0.0, 0.25, 7.5, 61.0])
        takes = [
            Take(
                b"%d %d %d" % (unit_s, sliding, chance.randrange(3)),
                chance.choice([0, 1, 1, 1, 3]),
                5,
                unit_s,
                sliding,
                forced=chance.random() < 0.1,
            )
            for unit_s in (1, 60)
            for sliding in (False, True)
        ]
        told, want = await counters.take(takes, now_s), await memory.take(takes, now_s)
        assert told == pytest.approx(want, abs=1e-6)
        refused += any(not one.fits(before) for one, before in zip(takes, want, strict=True))
    assert 50 < refused < 550
    await counters.close()


async def test_two_replicas_share_a_count(redis: Redis) -> None:
    replicas = [RedisCounters(redis.url, deadline_s=PATIENT_S) for _ in range(2)]
    take = [Take(b"a", 1, 100, 3600)]
    used = await asyncio.gather(*(replicas[i % 2].take(take, NOW_S) for i in range(50)))
    assert sorted(before for (before,) in used) == list(range(50))
    for one in replicas:
        await one.close()


async def test_counters_end_by_themselves(redis: Redis) -> None:
    counters = RedisCounters(redis.url, deadline_s=PATIENT_S)
    await counters.take([Take(b"a-secret", 1, 100, 3600), Take(b"b", 0, 100, 3600)], NOW_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"KEYS *\r\n")
    assert await reader.readline() == b"*1\r\n"  # nothing is kept of what took nothing
    await reader.readline()
    key = (await reader.readline()).strip()
    assert key.startswith(b"weir:limit:3600:%d:" % (NOW_S // 3600))
    assert b"secret" not in key  # what tells clients apart may be what they prove themselves with
    writer.write(b"TTL %s\r\n" % key)
    assert 3600 < int((await reader.readline()).removeprefix(b":")) <= 7260
    writer.close()
    await counters.close()


async def test_one_that_hangs_is_given_up_and_then_left_alone(redis: Redis) -> None:
    counters = RedisCounters(redis.url, deadline_s=0.3, rest_s=60.0)
    take = [Take(b"a", 1, 100, 3600)]
    await counters.take(take, NOW_S)
    redis.hang(True)
    with pytest.raises(StoreError, match="TimeoutError"):
        await counters.take(take, NOW_S)
    redis.hang(False)
    began_s = time.monotonic()
    for _ in range(1000):
        with pytest.raises(StoreError, match="a moment ago"):
            await counters.take(take, NOW_S)
    assert time.monotonic() - began_s < 30.0  # none of them waited for a deadline
    await counters.close()


async def test_one_that_comes_back_is_used_again(redis: Redis, tmp_path: Path) -> None:
    counters = RedisCounters(redis.url, rest_s=0.0)
    take = [Take(b"a", 1, 100, 3600)]
    redis.process.kill()
    await redis.process.wait()
    with pytest.raises(StoreError, match="the Redis for rate limits"):
        await counters.take(take, NOW_S)
    async with run_redis(tmp_path, redis.port):

        async def answers() -> bool:
            try:
                return await counters.take(take, NOW_S) == [0.0]
            except StoreError:
                return False

        await until(answers)
    await counters.close()


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisCounters("http://:secret@host")
    assert "secret" not in str(caught.value)
    assert "redis://" in str(caught.value)
