"""`examples/05-sticky-carts` with the real Envoy: its README, step by step, under load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.echo import call, echoes
from tests.envoy.edge import edge, until

pytestmark = pytest.mark.envoy

FOLDER = Path(__file__).parents[2] / "examples" / "05-sticky-carts"


def documents(ports: Mapping[int, int], draining: int = 0, gone: int = 0) -> list[str]:
    """The files, on other ports; two ports of the example may drain or be taken out."""
    out = []
    for file in sorted(FOLDER.glob("*.yaml")):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not gone or f"port: {gone}" not in line]
        text = "".join(
            line.replace("draining: false", "draining: true")
            if draining and f"port: {draining}" in line
            else line
            for line in kept
        )
        for old, new in ports.items():
            text = text.replace(f"port: {old}", f"port: {new}")
        out.append(text)
    return out


async def visit(port: int, cookie: str = "") -> tuple[str, str]:
    """The endpoint that has the cart, and the cookie to come back with."""
    answer = await call(port, "/cart", headers={"cookie": cookie} if cookie else {})
    assert answer.status == 200, answer
    given = answer.headers.get("set-cookie", "").partition(";")[0]
    return answer.headers["x-origin"], given or cookie


async def shop(port: int, carts: Mapping[str, str], visits: Counter[str]) -> None:
    """Customers who come back again and again."""
    while True:
        for cookie in carts.values():
            visits[(await visit(port, cookie))[0]] += 1


async def visited(visits: Counter[str], names: set[str]) -> bool:
    return set(visits) == names


async def serves(port: int) -> bool:
    return (await call(port, "/cart")).status == 200


async def test_an_endpoint_is_taken_out_and_no_cart_is_lost(tmp_path: Path) -> None:
    async with echoes("one", "two", "three") as running:
        ports = dict(zip((9001, 9002, 9003), (one.port for one in running.values()), strict=True))
        ports[10080] = port = free_port()
        async with edge(tmp_path, *documents(ports)) as made:
            await until(lambda: serves(port))
            carts: dict[str, str] = {}
            while len(carts) < 3:
                name, cookie = await visit(port)
                carts[name] = cookie
            visits: Counter[str] = Counter()
            shopping = asyncio.create_task(shop(port, carts, visits))
            await until(lambda: visited(visits, {"one", "two", "three"}))

            await made.apply(*documents(ports, draining=9001))
            assert "one" not in {(await visit(port))[0] for _ in range(20)}
            assert (await visit(port, carts["one"]))[0] == "one"

            await made.apply(*documents(ports, gone=9001))
            name, cookie = await visit(port, carts["one"])
            assert name != "one"
            assert (await visit(port, cookie))[0] == name

            await made.apply(*documents(ports))
            assert (await visit(port, carts["one"]))[0] in {"one", "two", "three"}
            assert not shopping.done(), shopping  # each visit was answered
            shopping.cancel()
            await asyncio.wait({shopping})
