"""Ports for many servers at once.

Envoys of one user share a port silently (SO_REUSEPORT), so ports are taken outside of the range
from which the kernel serves outgoing connections, all distinct, and a lane checks after its start
that each has exactly one listener. What was given is not given again soon: who asked may not have
opened it yet. Labs that start at once and are not to meet have ranges of their
own, by `WEIR_LAB_PORTS=FIRST-LAST`.
"""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from pathlib import Path

from controlplane.errors import ConfigurationError, StartupError

RANGE = "WEIR_LAB_PORTS"
FIRST, LAST = 15_000, 59_999


_given: deque[int] = deque()
"""By this process, the oldest first."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` distinct TCP ports that nobody listens on now, and that this process was not given
    before: up to half of the range is remembered."""
    candidates = usable()
    while len(_given) > len(candidates) // 2:
        _given.popleft()
    recent = {port: i for i, port in enumerate(_given)}
    random.shuffle(candidates)  # two labs that start at once must not meet
    candidates.sort(key=lambda port: recent.get(port, -1))  # and where nothing else is left
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        raise StartupError(f"only {len(found)} of {count} ports are free on {host}")
    _given.extend(found)
    return found


def usable() -> list[int]:
    """Ports to choose from. Raises `ConfigurationError`."""
    given = os.environ.get(RANGE)
    if given is not None:
        try:
            first, last = map(int, given.split("-"))
        except ValueError:
            raise ConfigurationError(f"{RANGE} is {given!r}, and FIRST-LAST is wanted") from None
        return list(range(first, last + 1))
    first, last = _outgoing_range()
    outside = [port for port in range(FIRST, LAST + 1) if not first <= port <= last]
    return outside if len(outside) > 1000 else list(range(FIRST, LAST + 1))


def _outgoing_range() -> tuple[int, int]:
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return 32_768, 60_999
    return int(first), int(last)


def require_one_listener(ports: list[int]) -> None:
    """Raises `StartupError` when two processes listen on one of these ports."""
    seen = _listening()
    shared = [port for port in ports if seen.get(port, 0) > 1]
    if shared:
        raise StartupError(
            f"port {shared[0]} has {seen[shared[0]]} listeners: another lab took it at the same "
            "moment; start again"
        )


def _listening() -> dict[int, int]:
    """port -> listening sockets of this machine, from the kernel's table (state 0A)."""
    counts: dict[int, int] = {}
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return counts
    for line in lines:
        fields = line.split()
        if fields[3] == "0A":
            port = int(fields[1].rpartition(":")[2], 16)
            counts[port] = counts.get(port, 0) + 1
    return counts
