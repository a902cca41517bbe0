"""Headers that a route changes: the same fields in a Route and in one of its weighted clusters.

Envoy applies those of a weighted cluster before those of its route, and in each the removals first.
The filters of a rule come before those of its backendRefs, so both are made one here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)

from controlplane.resources.filters import Filter, HeaderModifier, HttpHeader
from controlplane.translate.wire import wire


def changes(kind: type[Message], filters: Sequence[Filter]) -> bytes:
    """The part of a message of this kind that changes headers as these filters do, in order."""
    requests = [one.request_header_modifier for one in filters if one.request_header_modifier]
    responses = [one.response_header_modifier for one in filters if one.response_header_modifier]
    out = b""
    if requests:
        added, removed = modified(requests)
        out += wire(kind, request_headers_to_add=added, request_headers_to_remove=removed)
    if responses:
        added, removed = modified(responses)
        out += wire(kind, response_headers_to_add=added, response_headers_to_remove=removed)
    return out


def modified(modifiers: Iterable[HeaderModifier]) -> tuple[list[bytes], list[str]]:
    """What is added, in order, after all that is removed."""
    action = HeaderValueOptionHeaderAppendAction
    added: list[tuple[str, bytes]] = []
    removed: list[str] = []
    for one in modifiers:
        over = {header.name.lower() for header in one.set_} | {name.lower() for name in one.remove}
        added = [(name, option) for name, option in added if name not in over]
        for headers, how in (
            (one.set_, action.OVERWRITE_IF_EXISTS_OR_ADD),
            (one.add, action.APPEND_IF_EXISTS_OR_ADD),
        ):
            added += [(header.name.lower(), _option(header, how)) for header in headers]
        removed += one.remove
    return [option for _, option in added], removed


def in_place(headers: Iterable[HttpHeader]) -> list[bytes]:
    """Headers as they are sent, in place of what is there."""
    how = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return [_option(one, how) for one in headers]


def _option(header: HttpHeader, action: HeaderValueOptionHeaderAppendAction) -> bytes:
    text = header.value.replace("%", "%%")  # Envoy reads %...% as a command
    pair = wire(HeaderValue, key=header.name, value=text)
    return wire(HeaderValueOption, header=pair, append_action=action)
