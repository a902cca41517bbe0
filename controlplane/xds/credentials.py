"""Where a message of Envoy's may hold a credential of its own, by the table in `credentials.txt`.

The table has every field that is a credential, and every field that leads to one, each under the
name of its message: `2 inline` is a DataSource that may have it inline, `2 value` a credential
itself, `2 jwks` keys of which some may be secret, and all else the message that it leads to.
`python -m tests.envoy.credentials` makes it from an Envoy binary, and a test compares.

Messages are read from their bytes, as far as the table leads. What is packed into them (`Any`) is
found by its type, wherever it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files

from controlplane.xds.fields import UnreadableError, fields, varint

_PREFIX = b"type.googleapis.com/"
_TYPED_STRUCTS = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")
_TYPE_URL = 1  # of a typed struct
_INLINE = (2, 3)  # inline_bytes and inline_string of a DataSource
_DEEPEST = 100
"""Messages within one another; protobuf reads no more either."""


def carries(type_url: str, body: bytes) -> bool:
    """Whether a resource, or anything that is packed into it, brings a credential along.

    What cannot be read where the table leads counts as one that does.
    """
    try:
        if _holds(type_url.rpartition("/")[2], body):
            return True
    except UnreadableError:
        pass  # it is no message of Envoy's, and Envoy will say so
    try:
        return any(_is_credential(name, value) for name, value in _packed(body))
    except UnreadableError:
        return True


@cache
def _table() -> Mapping[str, Mapping[int, str]]:
    made: dict[str, dict[int, str]] = {}
    fields: dict[int, str] = {}
    for line in (files(__package__) / "credentials.txt").read_text().splitlines():
        if not line.startswith(" "):
            fields = made[line] = {}
            continue
        number, _, leads_to = line.strip().partition(" ")
        fields[int(number)] = leads_to
    return made


def _holds(name: str, body: bytes, depth: int = 0) -> bool:
    """Whether a message of this name has a credential in one of its fields."""
    leads = _table().get(name)
    return leads is not None and any(
        _is_credential(leads[number], value, depth + 1) for number, value in fields(body, leads)
    )


def _is_credential(kind: str, value: bytes | None, depth: int = 0) -> bool:
    """Whether the value of a field is a credential, or leads to one."""
    if value is None or depth > _DEEPEST:
        return True
    is_secret = _KINDS.get(kind)
    try:
        return is_secret(value) if is_secret is not None else _holds(kind, value, depth)
    except UnreadableError:
        return True


def _inline(data_source: bytes) -> Iterator[bytes]:
    """What it holds itself, and not in a file or a variable."""
    return (value for _, value in fields(data_source, _INLINE) if value)


def _has_secret_keys(data_source: bytes) -> bool:
    """Whether it is a JWKS with a symmetric or private key inline; public ones may be seen."""
    try:
        return any(_secret_key(json.loads(value)) for value in _inline(data_source))
    except (ValueError, RecursionError):
        return True


def _secret_key(jwks: object) -> bool:
    keys = jwks.get("keys", [jwks]) if isinstance(jwks, dict) else jwks
    if not isinstance(keys, list):
        return True
    return any(not isinstance(key, dict) or bool({"k", "d"} & key.keys()) for key in keys)


_KINDS: Mapping[str, Callable[[bytes], bool]] = {
    "value": bool,
    "inline": lambda value: any(_inline(value)),
    "jwks": _has_secret_keys,
}


def _packed(body: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Name and content of whatever is packed into a body and is in the table. None: it cannot be
    read."""
    table = _table()
    at = body.find(_PREFIX)
    while at >= 0:
        begin, end = _type_url(body, at)
        name = _name(body[at:end])
        if name in table:
            yield name, _value(body, begin, end)
        elif name in _TYPED_STRUCTS:
            urls = [url for _, url in fields(_value(body, begin, end) or b"", (_TYPE_URL,))]
            inner = _name(urls[-1]) if urls else ""
            if inner in table:  # its fields are not there by their numbers
                yield inner, None
        at = body.find(_PREFIX, at + len(_PREFIX))


def _name(type_url: bytes) -> str:
    return type_url.rpartition(b"/")[2].decode("ascii", "replace")


def _type_url(body: bytes, at: int) -> tuple[int, int]:
    """Where the `Any` begins and its URL ends, of which this is the first character; nowhere where
    it is something else. Before it stand the number of the field and one or two bytes of size.
    """
    for begin in (at - 2, at - 3):
        if begin >= 0 and body[begin] == 0x0A:
            size, text = varint(body, begin + 1)
            if text == at:
                return begin, at + size
    return at, at


def _value(body: bytes, begin: int, url_end: int) -> bytes | None:
    """What is in the `Any` that begins here: its URL, and then its value, which is left out where
    it is empty. None: something else is in it.
    """
    if _is_sized(body, begin, url_end - begin):
        return b""
    if body[url_end : url_end + 1] == b"\x12":
        length, value = varint(body, url_end + 1)
        end = value + length
        if _is_sized(body, begin, end - begin) and end <= len(body):
            return body[value:end]
    return None


def _is_sized(body: bytes, at: int, size: int) -> bool:
    """Whether what begins here is said to have this size, or is the whole and has it."""
    if at == 0:
        return size == len(body)
    number = _encoded(size)
    begin = at - len(number)
    return body.endswith(number, 0, at) and (begin == 0 or body[begin - 1] < 0x80)


def _encoded(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
