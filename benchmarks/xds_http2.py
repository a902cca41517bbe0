"""HTTP/2 by hand, for what no gRPC client does: half a connection, a flood of pings, of resets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterable
from urllib.parse import unquote

import grpc

from controlplane._pb.discovery_pb2 import DiscoveryRequest
from controlplane.xds.kinds import ENDPOINT, EXTENSION

_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ENDS_STREAM, _ENDS_HEADERS = 1, 4
_CODES = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 11: "ENHANCE_YOUR_CALM"}
_GONE = (OSError, asyncio.IncompleteReadError)


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + number.to_bytes(4, "big") + payload


def headers(number: int) -> bytes:
    """The beginning of a stream, each header spelled out."""
    fields = {":method": "POST", ":scheme": "http", ":path": _PATH, ":authority": "a"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    block = b""
    for name, value in fields.items():
        block += b"\x00" + bytes([len(name)]) + name.encode()
        block += bytes([len(value)]) + value.encode()
    return frame(_HEADERS, _ENDS_HEADERS, number, block)


def begun(type_url: str = ENDPOINT, name: str = "cluster-0") -> bytes:
    """A connection, and a stream on it with its first request."""
    request = DiscoveryRequest(type_url=type_url, resource_names=[name])
    request.node.id, request.node.cluster = "offender", "crowd"
    settings = frame(_SETTINGS, 0, 0, b"")
    return _PREFACE + settings + headers(1) + message(request.SerializeToString())


def message(body: bytes) -> bytes:
    """A gRPC message on the first stream."""
    return frame(_DATA, 0, 1, b"\x00" + len(body).to_bytes(4, "big") + body)


async def connected(port: int, for_s: float) -> tuple[int, str]:
    """Open a connection with a stream, and close both without waiting."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return 1, f"no connection: {error.strerror}"
    writer.write(begun())
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()
    return 1, "taken"


async def pings(port: int, for_s: float) -> tuple[int, str]:
    """Ping until the server has had enough."""
    many = frame(_PING, 0, 0, bytes(8)) * 64
    return await _until_cut_off(port, for_s, begun(), itertools.repeat(many), 64)


async def resets(port: int, for_s: float) -> tuple[int, str]:
    """Open streams and reset them, on one connection."""
    cancel = (8).to_bytes(4, "big")
    opened = (headers(n) + frame(_RESET, 0, n, cancel) for n in range(3, 2**31, 2))
    return await _until_cut_off(port, for_s, begun(), opened, 1)


async def deaf(port: int, for_s: float, *requests: bytes) -> tuple[int, str]:
    """Ask for much and read nothing of it; at the end read, and see what was left to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(begun(EXTENSION, "large") + b"".join(map(message, requests)))
    await asyncio.sleep(for_s)
    window = (2**24).to_bytes(4, "big")
    writer.write(frame(_WINDOW, 0, 0, window) + frame(_WINDOW, 0, 1, window))
    how = "no status came"
    try:
        async with asyncio.timeout(2.0):
            while True:
                kind, flags, payload = await _frame(reader)
                if kind == _HEADERS and flags & _ENDS_STREAM:
                    how = _status(payload)
                    break
                if kind == _RESET:
                    how = f"reset {int.from_bytes(payload, 'big')}"
                    break
    except (TimeoutError, *_GONE):
        pass
    writer.close()
    return 1, how


def _status(trailers: bytes) -> str:
    """gRPC's status and message, which its server spells out."""
    number, message = (_field(trailers, name) for name in (b"grpc-status", b"grpc-message"))
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    return f"{names[int(number)]}: {unquote(message)}"


def _field(trailers: bytes, name: bytes) -> str:
    after = trailers.partition(name)[2]
    return after[1 : 1 + after[0]].decode() if after else ""


async def _until_cut_off(
    port: int, for_s: float, first: bytes, then: Iterable[bytes], each: int
) -> tuple[int, str]:
    end_s, did = time.monotonic() + for_s, 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ending = asyncio.create_task(_goaway(reader))
    try:
        writer.write(first)
        for some in then:
            writer.write(some)
            did += each
            await writer.drain()
            if ending.done() or time.monotonic() > end_s:
                break
            if did % 64 == 0:
                await asyncio.sleep(0)
    except OSError:
        pass
    try:
        async with asyncio.timeout(1.0):
            how = await asyncio.shield(ending) if ending.done() or writer.is_closing() else "served"
    except TimeoutError:
        how = "closed"
    finally:
        ending.cancel()
        writer.close()
    return did, how


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = await reader.readexactly(9)
    return head[3], head[4], await reader.readexactly(int.from_bytes(head[:3], "big"))


async def _goaway(reader: asyncio.StreamReader) -> str:
    """What the server says when it ends the connection."""
    said = "closed"
    with contextlib.suppress(*_GONE):
        while True:
            kind, _, payload = await _frame(reader)
            if kind == _GOAWAY:
                code = int.from_bytes(payload[4:8], "big")
                said = f"GOAWAY {_CODES.get(code, code)}: {payload[8:].decode(errors='replace')}"
    return said
