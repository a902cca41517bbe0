"""A WebAssembly module for Envoy (proxy-wasm ABI 0.2.1), assembled by hand: no toolchain is needed.

It adds `x-wasm: seen` to requests. The binary format is that of the WebAssembly core specification
1.0, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

_I32 = b"\x7f"
_END = b"\x0b"
_HEADER = (b"x-wasm", b"seen")


def module() -> bytes:
    """The bytes of the module."""
    types = [_type(0, 0), _type(5, 1), _type(2, 0), _type(2, 1), _type(3, 1), _type(1, 1)]
    add_header = _name("env") + _name("proxy_add_header_map_value") + b"\x00\x01"
    functions = {  # by name: the type, the body
        "proxy_abi_version_0_2_1": (0, b""),
        "proxy_on_memory_allocate": (5, _const(1024)),
        "proxy_on_context_create": (2, b""),
        "proxy_on_vm_start": (3, _const(1)),
        "proxy_on_configure": (3, _const(1)),
        "proxy_on_request_headers": (4, _adds_header() + _const(0)),
    }
    exports = [_name("memory") + b"\x02\x00"]
    exports += [_name(name) + b"\x00" + _leb(1 + at) for at, name in enumerate(functions)]
    bodies = [_sized(b"\x00" + body + _END) for _, body in functions.values()]
    data = b"\x00" + _const(0) + _END + _sized(b"".join(_HEADER))
    return b"\x00asm\x01\x00\x00\x00" + b"".join(
        bytes([kind]) + _sized(_vector(entries))
        for kind, entries in (
            (1, types),
            (2, [add_header]),
            (3, [_leb(kind) for kind, _ in functions.values()]),
            (5, [b"\x00\x01"]),
            (7, exports),
            (10, bodies),
            (11, [data]),
        )
    )


def _adds_header() -> bytes:
    """proxy_add_header_map_value(request headers, name, its size, value, its size)."""
    name, value = map(len, _HEADER)
    return b"".join(map(_const, (0, 0, name, name, value))) + b"\x10\x00\x1a"  # call 0, drop


def _type(takes: int, gives: int) -> bytes:
    return b"\x60" + _vector([_I32] * takes) + _vector([_I32] * gives)


def _const(value: int) -> bytes:
    return b"\x41" + _leb(value, signed=True)


def _name(text: str) -> bytes:
    return _sized(text.encode())


def _sized(content: bytes) -> bytes:
    return _leb(len(content)) + content


def _vector(entries: Sequence[bytes]) -> bytes:
    return _leb(len(entries)) + b"".join(entries)


def _leb(value: int, *, signed: bool = False) -> bytes:
    """LEB128; a signed number's last byte has no sixth bit unless it is negative."""
    out = bytearray()
    last = 0x3F if signed else 0x7F
    while value > last:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
