"""Probes of a container, as the kubelet makes them.

https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from tests.kubernetes.node.container import Container

Object = dict[str, Any]
OFTEN_S = 0.1
"""However rarely a probe is to be made, a start is looked at so often: tests do not wait."""


async def passes(probe: Object, container: Container, address: str) -> bool:
    """Whether it does, now."""
    spec = container.spec
    within_s = float(probe.get("timeoutSeconds", 1))
    with contextlib.suppress(OSError, TimeoutError, ValueError, IndexError):
        async with asyncio.timeout(within_s):
            if get := probe.get("httpGet"):
                port = _port(get["port"], spec)
                return 200 <= await status(address, port, get.get("path", "/")) < 400
            if tcp := probe.get("tcpSocket"):
                _, writer = await asyncio.open_connection(address, _port(tcp["port"], spec))
                writer.close()
                return True
            if run := probe.get("exec"):
                return await container.does(*run["command"])
    return False


async def status(address: str, port: int, path: str) -> int:
    """Of `GET path`."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode()
        )
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


def _port(given: int | str, container: Object) -> int:
    if isinstance(given, int):
        return given
    return int(next(one["containerPort"] for one in container["ports"] if one.get("name") == given))
