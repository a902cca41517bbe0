"""`examples/03-library` with the real Envoy: a control plane of somebody else's on our server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.lab.envoy import die_with_parent, free_port, kill_now, run_envoy
from tests.envoy.test_xds import backend

pytestmark = pytest.mark.envoy

FOLDER = Path(__file__).parents[2] / "examples" / "03-library"
DEADLINE_S = 30.0


class Example:
    """`plane.py` as a process: what it prints, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, words: str) -> str:
        """The next line with these words; what comes before it is passed over."""
        assert self._process.stdout is not None
        seen = []
        async with asyncio.timeout(DEADLINE_S):
            while line := (await self._process.stdout.readline()).decode():
                if words in line:
                    return line
                seen.append(line)
        pytest.fail(f"it never said {words!r}, but: {seen}")


@contextlib.asynccontextmanager
async def example(file: Path, listen: int) -> AsyncIterator[tuple[Example, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(FOLDER / "plane.py"), str(file)),
        *("--address", "127.0.0.1:0", "--listen", f"127.0.0.1:{listen}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=die_with_parent,
    )
    try:
        made = Example(process)
        port = int((await made.says("serving on port")).split()[-1])
        yield made, port
    finally:
        kill_now(process)
        await process.wait()


def bootstrap(xds_port: int) -> dict[str, Any]:
    """The one of the example, with ports that are free here."""
    made: dict[str, Any] = yaml.safe_load((FOLDER / "envoy.yaml").read_text())
    made["admin"]["address"]["socket_address"]["port_value"] = free_port()
    (cluster,) = made["static_resources"]["clusters"]
    (member,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    member["endpoint"]["address"]["socket_address"]["port_value"] = xds_port
    return made


async def get(port: int, path: str) -> str:
    """Status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.decode().partition("\r\n\r\n")
    return f"{head.split(' ')[1]} {body}"


async def until(port: int, path: str, wanted: str) -> None:
    """Until it is answered so; who listens is known only by trying."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(OSError):
                if await get(port, path) == wanted:
                    return
            await asyncio.sleep(0.02)


def write(file: Path, text: str) -> None:
    """As editors do: it is there as a whole or not at all."""
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)


async def test_it_routes_follows_its_file_and_outlives_what_is_wrong(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "shop.txt"
    async with backend("a") as a, backend("b") as b:
        one, other = f"127.0.0.1:{a.port}", f"127.0.0.1:{b.port}"
        write(file, f"# ours\n/cart {one}\n/ {other}\n")
        async with (
            example(file, port) as (plane, xds_port),
            run_envoy(bootstrap(xds_port), tmp_path),
        ):
            await until(port, "/cart/1", "200 a")
            assert await get(port, "/else") == "200 b"

            write(file, f"/cart {one}*1 {other}*3\n/ {other}\n")
            await plane.says("changed; connected: 1")
            await until(port, "/cart", "200 b")
            a.hits = b.hits = 0
            for _ in range(40):
                await get(port, "/cart")
            assert (a.hits, b.hits) == (10, 30)

            write(file, "cart without a slash\n")
            assert "line 1: want PATH" in await plane.says("the last good state stays")
            write(file, f"/cart {one}*0\n/ {other}\n")
            assert "greater than or equal to 1" in await plane.says("Nack: ")
            assert (await get(port, "/cart")).startswith("200 ")

            write(file, f"/cart {one}\n/ {one}\n")
            await until(port, "/else", "200 a")
