"""Where requests go when a place has no endpoints left, through the real Envoy, and back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until
from tests.envoy.origin import ask
from tests.envoy.regions import Region

pytestmark = pytest.mark.envoy

SOON = "  healthCheck: {passive: {baseEjectionTime: 500ms, interval: 200ms}}\n"
"""Who was taken out is tried again soon: tests do not wait for 15 s."""


def spare(name: str, *ports: int) -> str:
    return backend(name, *ports).replace("spec: {", "spec: {fallback: true, ")


async def test_a_fallback_takes_what_the_others_cannot(tmp_path: Path) -> None:
    port = free_port()

    async def answers(times: int = 40) -> Counter[tuple[int, str]]:
        return await ask(port, times=times)

    async def all_of(name: str) -> bool:
        return await answers(20) == {(200, name): 20}

    async with Region("main") as main, Region("spare") as other:

        def documents(*ports: int) -> list[str]:
            return [
                gateway(f"name: http, port: {port}, protocol: HTTP"),
                backend("main", *ports),
                spare("spare", *other.ports),
                route("a", f"[{{{to('main', 'spare')}}}]"),
                policy("TrafficPolicy", "soon", "Backend/main", SOON),
            ]

        async with edge(tmp_path, *documents(*main.ports)) as made:
            assert await answers() == {(200, "main"): 40}
            # All endpoints are gone without a word: no request fails, not even the first.
            main.end()
            assert await answers() == {(200, "spare"): 40}
            await main.begin()
            await until(lambda: all_of("main"))
            # They answer, but fail: requests fail until it is known of all of them.
            main.status = 503
            failed = await answers()
            assert failed[503, "main"] <= 20
            await until(lambda: all_of("spare"))
            main.status = 200
            await until(lambda: all_of("main"))
            # There are none any more, and then again some.
            await made.apply(*documents())
            assert await answers() == {(200, "spare"): 40}
            await made.apply(*documents(*main.ports))
            await until(lambda: all_of("main"))
