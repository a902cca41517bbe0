"""Fields of a message, read from its bytes by their numbers.

For the few that are wanted of messages of which we have no classes (Envoy has thousands).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator


class UnreadableError(ValueError):
    """Bytes that are no message."""


def below(body: bytes, *path: int) -> Iterator[bytes]:
    """What stands under these fields within one another. Raises `UnreadableError`.

    >>> list(below(b"\\x0a\\x03\\x12\\x01a", 1, 2))
    [b'a']
    """
    if not path:
        yield body
        return
    for _, value in fields(body, path[:1]):
        yield from below(value, *path[1:])


def fields(body: bytes, wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Those of these fields of a message that have a length."""
    at, end = 0, len(body)
    while at < end:
        tag, at = varint(body, at)
        wire = tag & 7
        if wire == 2:
            size, begin = varint(body, at)
            at = begin + size
            if tag >> 3 in wanted and at <= end:
                yield tag >> 3, body[begin:at]
        elif wire == 0:
            _, at = varint(body, at)
        elif wire == 1:
            at += 8
        elif wire == 5:
            at += 4
        else:
            raise UnreadableError(f"wire type {wire}")
    if at > end:
        raise UnreadableError("cut off")


def varint(body: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    if at < len(body) and body[at] < 0x80:  # most are short
        return body[at], at + 1
    value = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise UnreadableError("a number without an end")
