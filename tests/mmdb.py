"""Small MaxMind databases (format 2.0, IPv4, records of 24 bits), for tests.

https://maxmind.github.io/MaxMind-DB/ is the specification.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | Mapping[str, "Value"] | Sequence["Value"]

_STRING, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11
_METADATA = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR = 16


def write_mmdb(path: Path, networks: Mapping[str, Value]) -> None:
    """A database of what is known of each network; networks do not contain one another."""
    nodes: list[list[int | str | None]] = [[None, None]]
    for text in networks:
        network = ipaddress.IPv4Network(text)
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        at = 0
        for bit in map(int, bits[:-1]):
            below = nodes[at][bit]
            if not isinstance(below, int):
                below = nodes[at][bit] = len(nodes)
                nodes.append([None, None])
            at = below
        nodes[at][int(bits[-1])] = text
    data, offsets = b"", {}
    for text, value in networks.items():
        offsets[text] = len(data)
        data += _encoded(value)

    def record(one: int | str | None) -> bytes:
        if isinstance(one, str):
            one = len(nodes) + _SEPARATOR + offsets[one]
        return (len(nodes) if one is None else one).to_bytes(3, "big")

    tree = b"".join(record(one) for node in nodes for one in node)
    about = {
        "node_count": _number(_UINT32, len(nodes)),
        "record_size": _number(_UINT16, 24),
        "ip_version": _number(_UINT16, 4),
        "database_type": _encoded("Test"),
        "languages": _encoded(["en"]),
        "binary_format_major_version": _number(_UINT16, 2),
        "binary_format_minor_version": _number(_UINT16, 0),
        "build_epoch": _number(_UINT64, 1_700_000_000),
        "description": _encoded({"en": "test"}),
    }
    metadata = _head(_MAP, len(about)) + b"".join(
        _encoded(name) + value for name, value in about.items()
    )
    path.write_bytes(tree + b"\0" * _SEPARATOR + data + _METADATA + metadata)


def _encoded(value: Value) -> bytes:
    if isinstance(value, str):
        return _head(_STRING, len(value.encode())) + value.encode()
    if isinstance(value, int):
        return _number(_UINT32, value)
    if isinstance(value, Mapping):
        pairs = (_encoded(name) + _encoded(part) for name, part in value.items())
        return _head(_MAP, len(value)) + b"".join(pairs)
    return _head(_ARRAY, len(value)) + b"".join(map(_encoded, value))


def _number(kind: int, value: int) -> bytes:
    shortest = value.to_bytes(8, "big").lstrip(b"\0")
    return _head(kind, len(shortest)) + shortest


def _head(kind: int, size: int) -> bytes:
    assert size < 29, "longer values are not needed here"
    return bytes([kind << 5 | size]) if kind <= 7 else bytes([size, kind - 7])
