"""Networks of pods: one bridge, a namespace for each pod, and no way out."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BRIDGE, NET = "weir-k8s0", "10.214"
HOST = f"{NET}.0.1"
"""This machine, as pods reach it."""
_IP_S = 30.0
_TURN_S = 240.0
"""So long a node waits for the one that another process has: their networks have the same names."""


def ip(*words: str) -> None:
    """The command `ip`. Raises `RuntimeError` with what it said."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_IP_S)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def bridge() -> Iterator[None]:
    """The bridge, and whatever hangs on it until the end. One on this machine at a time."""
    with (Path(tempfile.gettempdir()) / f"{BRIDGE}.lock").open("w") as file:
        _lock(file.fileno())
        ip("link", "add", BRIDGE, "type", "bridge")
        try:
            ip("addr", "add", f"{HOST}/16", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            yield
        finally:
            ip("link", "del", BRIDGE)


def _lock(file: int) -> None:
    """Until the file is closed. Raises `TimeoutError`."""
    end_s = time.monotonic() + _TURN_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end_s:
                raise TimeoutError(f"another process has had {BRIDGE} for {_TURN_S:g} s") from None
            time.sleep(0.1)


def own(address: str) -> None:
    """This machine has this address, too: that of a Service."""
    ip("addr", "add", f"{address}/32", "dev", BRIDGE)


class Network:
    """The network of one pod: loopback, and `eth0` with its address."""

    def __init__(self, number: int) -> None:
        """`number`: 1 to 60,000, of one pod alone as long as the bridge is there."""
        self.name = f"weir-k8s-{number}"
        self.address = f"{NET}.{1 + number // 250}.{1 + number % 250}"
        self._end = f"wk{number}"

    def add(self) -> None:
        inside = ("-n", self.name)
        ip("netns", "add", self.name)
        ip("link", "add", self._end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self._end, "master", BRIDGE, "up")
        ip(*inside, "addr", "add", f"{self.address}/16", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "route", "add", "default", "via", HOST)

    def remove(self) -> None:
        """The kernel keeps a namespace as long as a connection in it lasts, but not under its
        name, and not at the bridge."""
        ip("link", "del", self._end)
        ip("netns", "del", self.name)
