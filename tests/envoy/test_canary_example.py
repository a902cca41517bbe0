"""`examples/15-canary` with the real Envoy: its README, step by step, under load."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from controlplane.model import Service, ServiceName, Verdict
from tests.envoy.edge import edge, until
from tests.envoy.examples import example
from tests.envoy.origin import ask, origins
from tests.unit.translate.scenes import even, single

pytestmark = pytest.mark.envoy

STABLE, CANARY = ("stable-1", "stable-2"), ("canary-1", "canary-2")
MANY = 500


def weights(stable: int, canary: int) -> str:
    """As they stand in the route."""
    return f"{{name: stable, weight: {stable}}}\n        - {{name: canary, weight: {canary}}}"


def step(documents: Sequence[str], stable: int, canary: int) -> list[str]:
    """The documents with other weights."""
    written = weights(90, 10)
    assert sum(written in one for one in documents) == 1
    return [one.replace(written, weights(stable, canary)) for one in documents]


def three_to_one(services: Sequence[Service]) -> dict[ServiceName, Verdict]:
    """In each version the first endpoint can take more."""
    return {**even(services), **{one.name: single(one, [3, 1]) for one in services}}


def about(share: float, of: int) -> tuple[float, float]:
    """Where the number of so many tries falls that go one way with this chance, by five standard
    deviations: once in a million it does not."""
    width = 5 * math.sqrt(of * share * (1 - share))
    return of * share - width, of * share + width


def by(names: Sequence[str], seen: Mapping[str, int]) -> int:
    """How many of the requests were answered by these."""
    return sum(seen[name] for name in names)


async def visits(port: int, times: int = MANY, **headers: str) -> Counter[str]:
    """Who answered; all are answered."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    found = await ask(port, times=times, headers=sent)
    assert {status for status, _ in found} == {200}
    return Counter({name: count for (_, name), count in found.items()})


async def test_a_version_is_rolled_out_and_back_and_no_request_fails(tmp_path: Path) -> None:
    async with origins(*STABLE, *CANARY) as running:
        ports = dict(zip((9001, 9002, 9003, 9004), (x.port for x in running.values()), strict=True))
        ports[10080] = port = free_port()
        documents = example("15-canary", ports)
        async with edge(tmp_path, *documents, verdicts=three_to_one) as made:

            async def serves() -> bool:
                return bool(await visits(port, 1))

            await until(serves)
            shopped: Counter[str] = Counter()

            async def shop() -> None:
                while True:
                    shopped.update(await visits(port, 5))

            shopping = asyncio.create_task(shop())
            for stable, canary in ((90, 10), (50, 50), (0, 100), (100, 0)):
                await made.apply(*step(documents, stable, canary))
                before = shopped.total()

                async def weighs(share: float = canary / 100) -> bool:
                    seen = await visits(port, 20)  # until the new routes are in force
                    return share not in (0, 1) or by(CANARY, seen) == share * 20

                await until(weighs)
                seen = await visits(port)
                low, high = about(canary / 100, MANY)
                assert low <= by(CANARY, seen) <= high, seen
                for first, second in (STABLE, CANARY):
                    both = seen[first] + seen[second]
                    low, high = about(0.75, both)
                    assert low <= seen[first] <= high, seen
                testers = await visits(port, 20, x_version="canary")
                assert set(testers) <= set(CANARY)
                assert shopped.total() > before
            assert not shopping.done(), shopping  # each visit was answered
            shopping.cancel()
            await asyncio.wait({shopping})
            assert by(STABLE, shopped)
            assert by(CANARY, shopped)
