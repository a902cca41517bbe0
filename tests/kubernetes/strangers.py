"""What somebody without a certificate gets, where no network policy is in the way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

_WITHIN_S = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2 begins, RFC 9113, 3.4."""


def listens(pid: int) -> set[int]:
    """The TCP ports on which others than its own machine reach the network of a process."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.partition(":")
            loopback = address in ("0100007F", "00000000000000000000000001000000")
            if state == "0A" and not loopback:
                found.add(int(port, 16))
    return found


def connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), _WITHIN_S):
            return True
    except OSError:
        return False


def heard(host: str, port: int, context: ssl.SSLContext | None = None) -> bytes:
    """What is answered to the beginning of HTTP/2; nothing where the connection is ended."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), _WITHIN_S) as plain:
        plain.settimeout(_WITHIN_S)
        with contextlib.ExitStack() as stack:
            spoken = plain
            if context is not None:
                spoken = stack.enter_context(context.wrap_socket(plain, server_hostname="weir"))
            spoken.sendall(_PREFACE)
            return spoken.recv(1024)
    return b""


def believing_all(protocol: str = "h2") -> ssl.SSLContext:
    """A client that takes any server for whom it says it is. `protocol`: as in ALPN."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def page(
    host: str, port: int, path: str, method: str = "GET", context: ssl.SSLContext | None = None
) -> tuple[int, str]:
    """The status of a page, and what is on it; over TLS with a context."""
    scheme = "http" if context is None else "https"
    asked = urllib.request.Request(f"{scheme}://{host}:{port}{path}", method=method)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(asked, timeout=_WITHIN_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
