from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from controlplane.discovery import SystemResolver


async def test_the_name_of_this_machine_resolves() -> None:
    assert await SystemResolver()("localhost") in (("127.0.0.1",), ("::1",))


async def test_a_name_that_does_not_exist_or_cannot_be_asked_is_no_address() -> None:
    with contextlib.suppress(OSError):  # there may be no resolver to ask: no answer either
        assert await SystemResolver()("does-not-exist.invalid") == ()


async def test_a_lookup_that_hangs_ends_at_the_deadline_and_counts_until_it_is_over() -> None:
    over = threading.Event()

    def hang(hostname: str) -> tuple[str, ...]:
        over.wait(20.0)
        return ()

    resolver = SystemResolver(deadline_s=0.05, at_once=1, look_up=hang)
    with pytest.raises(TimeoutError):
        await resolver("slow.example")
    with pytest.raises(OSError, match="under way already"):
        await resolver("other.example")
    over.set()
    async with asyncio.timeout(20.0):
        while True:
            try:
                assert await resolver("other.example") == ()
                break
            except OSError:
                await asyncio.sleep(0.01)
