"""An HTTP server that answers as it is told: well, badly, late, in part, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FaultServer:
    """`result` is the vector that a good answer holds; `fault` spoils the answer."""

    result: list[Mapping[str, Any]] = field(default_factory=list)
    fault: str = ""
    url: str = ""
    asked: int = 0
    connections: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or b"0"))
                self.asked += 1
                if not await self._answer(writer):
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        status, body = "200 OK", self._body()
        length = len(body)
        if self.fault == "status":
            status = "500 Internal Server Error"
        elif self.fault == "silent":
            await self.released.wait()
            return False
        elif self.fault == "truncated":
            length += 1000
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n".encode())
        if self.fault == "trickle":
            for byte in body:
                writer.write(bytes([byte]))
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self.released.wait()
        else:
            writer.write(body)
        await writer.drain()
        return self.fault != "truncated"

    def _body(self) -> bytes:
        if self.fault == "html":
            return b"<html>the proxy is sorry</html>"
        if self.fault == "shape":
            return b'{"data":{"result":[{"metric":{"weir":"taken","service":"default/web"}}]}}'
        if self.fault == "half json":
            return json.dumps({"data": {"result": self.result}}).encode()[:-20]
        data = {"resultType": "vector", "result": self.result}
        return json.dumps({"status": "success", "data": data}).encode()


@contextlib.asynccontextmanager
async def fault_server(
    result: list[Mapping[str, Any]] | None = None, fault: str = ""
) -> AsyncIterator[FaultServer]:
    faulty = FaultServer(result or [], fault)
    server = await asyncio.start_server(faulty.handle, "127.0.0.1", 0)
    faulty.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield faulty
    finally:
        faulty.released.set()
        server.close()
