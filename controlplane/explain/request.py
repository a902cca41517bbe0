"""A request as the rules of the Gateway API see it, from what people type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from controlplane.errors import ConfigurationError
from controlplane.resources.matches import is_header_name

_PORTS = {"http": 80, "https": 443}
_METHOD = re.compile(r"[A-Za-z!#$%&'*+.^_`|~-]{1,32}")
_ESCAPED = re.compile(r"%([0-9a-fA-F]{2})")
_ODD = re.compile(r'["<>^`{|}]')
_ESCAPED_SLASH = re.compile(r"%2f|%5c", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is as it was sent; `normal_path` is what routes are compared with."""

    method: str
    scheme: str
    host: str
    """Of the header `host`, in lower case, without a port and without a dot at its end."""
    server_name: str
    """What a client asks for in TLS (SNI): the host of the URL."""
    port: int
    """The port that it comes to."""
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """By name in lower case; what came several times is joined by commas, as Envoy does."""

    @classmethod
    def of(cls, method: str, url: str, headers: Sequence[str] = ()) -> Request:
        """From a URL and lines such as `x-who: me`. Raises `ConfigurationError` in plain words.

        >>> Request.of("get", "https://Shop.example.com/cart?id=1").normal_path
        '/cart'
        """
        parts = _parsed(url)
        if not _METHOD.fullmatch(method):
            raise ConfigurationError(f"{method!r} is no method; want one such as GET")
        given = _headers(headers)
        server_name = (parts.hostname or "").lower()
        host = given.pop("host", server_name).rpartition("@")[2].lower()
        return cls(
            method=method.upper(),
            scheme=parts.scheme,
            host=_without_port(host),
            server_name=server_name,
            port=parts.port or _PORTS[parts.scheme],
            path=parts.path or "/",
            query=parts.query,
            headers=given,
        )

    @property
    def has_escaped_slash(self) -> bool:
        """Whether the path hides a slash or backslash: routes and backends could differ on it."""
        return _ESCAPED_SLASH.search(self.path) is not None

    @property
    def normal_path(self) -> str:
        """Without `.` and `..` and needless escapes, slashes that follow one another as one."""
        return normal(self.path)

    @property
    def asks_beforehand(self) -> bool:
        """Whether it is a browser's question whether a page may send a request (CORS)."""
        asks = "access-control-request-method" in self.headers and "origin" in self.headers
        return self.method == "OPTIONS" and asks

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter, as it was sent."""
        for piece in self.query.split("&"):
            key, _, value = piece.partition("=")
            if key == name:
                return value
        return None

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.method} {self.scheme}://{self.host}:{self.port}{self.path}{query}"


def normal(path: str) -> str:
    """The path as Envoy's `normalize_path` and `merge_slashes` leave it, measured at 1.40.

    >>> normal("/a/./b//../c/"), normal("/.."), normal("/%61%2d%20"), normal("/{a}")
    ('/a/b/c/', '/', '/a-%20', '/%7Ba%7D')
    """
    plain = _ESCAPED.sub(_unescaped, path.replace("\\", "/"))
    plain = _ODD.sub(lambda found: f"%{ord(found[0]):02X}", plain)
    kept: list[str] = []
    parts = plain.split("/")[1:]
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    whole = "/" + "/".join(kept)
    if parts[-1:] in (["."], [".."]) and kept:
        whole += "/"
    if whole.strip("/"):
        return re.sub("/{2,}", "/", whole)
    return whole[:2]  # nothing but slashes: two of them stay


def _unescaped(found: re.Match[str]) -> str:
    """What needs no escape stands for itself (RFC 3986, unreserved)."""
    one = chr(int(found[1], 16))
    return one if one.isascii() and (one.isalnum() or one in "-._~") else found[0]


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise ConfigurationError(f"{url!r}: want a whole URL such as https://example.com/path")
    return parts


def _headers(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not is_header_name(name):
            raise ConfigurationError(f"header {line!r}: want 'name: value'")
        name, value = name.lower(), value.strip()
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _without_port(host: str) -> str:
    """Nor the dot that may stand at the end of a name."""
    bare, colon, port = host.rpartition(":")
    return (bare if colon and port.isdigit() else host).removesuffix(".")
