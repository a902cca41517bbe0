"""What the admin address tells of Envoys: streams and resources as documents.

An Envoy is known by its node id within its fleet. One that comes with several streams (one for each
type) is one here; of two streams with the same type the newer counts. Who asks by the id alone is
told of the one that connected last, and in which other fleets there is one of this id (`also_in`).
No document holds a secret: the body of a resource that is one, or carries one, is left out and
`withheld` says so.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from controlplane.model import NOWHERE, OVERLAY
from controlplane.xds.client_config import by_node
from controlplane.xds.confidential import confidential
from controlplane.xds.connection import Connection
from controlplane.xds.effects import TypeStatus
from controlplane.xds.kinds import kind_of
from controlplane.xds.report import Report
from controlplane.xds.status import Client, State, state_of
from controlplane.xds.timeline import Times
from controlplane.xds.versions import Resource

Document = dict[str, Any]
Side = Literal["intended", "acked"]
"""What an Envoy should run, or what it said that it runs."""

MAX_BYTES = 32 * 1024 * 1024
"""Bodies in one document; more is refused."""

WITHHELD = "it is, or carries, a secret"


class TooLargeError(Exception):
    """More than a document may hold."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Turns times of the monotonic clock into what people read."""

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time

    def at(self, monotonic_s: float | None) -> str | None:
        """The time of day, in UTC to the millisecond."""
        if monotonic_s is None:
            return None
        wall_s = self.wall_s() - self.monotonic_s() + monotonic_s
        return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")

    def age(self, monotonic_s: float) -> float:
        """Seconds since."""
        return round(self.monotonic_s() - monotonic_s, 3)


def proxies(connections: Iterable[Connection], clock: Clock) -> list[Document]:
    """Every connected Envoy and where it stands with each type, in the order of their ids."""
    return [_proxy([one.client() for one in streams], clock) for streams in by_node(connections)]


def proxy(connections: Iterable[Connection], node: str, clock: Clock) -> Document | None:
    """One of them; None when no Envoy of this id is connected."""
    return chosen(proxies([one for one in connections if one.node.id == node], clock))


def chosen(found: Sequence[Document]) -> Document | None:
    """Of Envoys of one id, the one that connected last."""
    if not found:
        return None
    newest = min(found, key=lambda one: one["connected_s"])
    others = sorted({one["fleet"] for one in found} - {newest["fleet"]})
    return {**newest, "also_in": others}


def joined(parts: Iterable[Iterable[Document]]) -> list[Document]:
    """What several processes told of `proxies`. Of an Envoy with streams to two of them, one."""
    found: dict[tuple[str, str], list[Document]] = {}
    for part in parts:
        for document in part:
            found.setdefault((document["node"], document["fleet"]), []).append(document)
    return [_joined(found[envoy]) for envoy in sorted(found)]


def _joined(documents: list[Document]) -> Document:
    return {**merged(documents), "streams": sum(one["streams"] for one in documents)}


def merged(documents: Iterable[Document]) -> Document:
    """What several processes told of one Envoy. Of two streams with a type the newer counts, and of
    two Envoys of one id in different fleets the one that connected last."""
    newest, *older = sorted(documents, key=lambda one: one["connected_s"])
    types = dict(newest["types"])
    for document in older:
        if document["fleet"] == newest["fleet"]:
            types = {**document["types"], **types}
    return {**newest, "types": types}


def resources(
    connections: Iterable[Connection],
    node: str,
    side: Side,
    only: str | None = None,
    most_bytes: int = MAX_BYTES,
) -> Document | None:
    """What an Envoy should run or has ACKed, by the short name of each type (or of one type).

    None when no Envoy of this id is connected. Raises `TooLargeError`.
    """
    envoys = by_node(one for one in connections if one.node.id == node)
    if not envoys:
        return None
    mine = max(envoys, key=lambda streams: streams[0].since_s)
    types: dict[str, Document] = {}
    room = _Room(most_bytes, most_bytes)
    for stream in mine:
        client = stream.client()
        by_type: dict[str, list[Report]] = {}
        for report in stream.reports():
            by_type.setdefault(report.type_url, []).append(report)
        for one in client.types:
            name = kind_of(one.type_url).name
            if name in types or (only is not None and only != name):
                continue
            version = one.intended_version if side == "intended" else one.acked_version
            found = by_type.get(one.type_url, [])
            types[name] = {
                "type_url": one.type_url,
                "version": version,
                "wildcard": one.wildcard,
                "names": sorted(stream.asked(one.type_url)),
                "resources": [*_bodies(found, side, room)],
            }
    newest = mine[0]
    return {
        "node": node,
        "fleet": newest.group,
        "mode": newest.mode.name.lower(),
        "connected_s": round(time.monotonic() - newest.since_s, 3),
        "types": types,
    }


def _proxy(streams: Sequence[Client], clock: Clock) -> Document:
    """`streams` are those of one Envoy, newest first."""
    newest = streams[0]
    types: dict[str, Document] = {}
    for client in streams:
        for one in client.types:
            types.setdefault(kind_of(one.type_url).name, _type(client, one, clock))
    return {
        "node": newest.node.id,
        "fleet": newest.group,
        "place": str(newest.node.where) if newest.node.where != NOWHERE else "",
        "mode": newest.mode.name.lower(),
        "peer": newest.peer,
        "connected_at": clock.at(newest.since_s),
        "connected_s": clock.age(newest.since_s),
        "streams": len(streams),
        "types": types,
    }


def _type(client: Client, one: TypeStatus, clock: Clock) -> Document:
    state, since_s = state_of(one), client.in_state_since_s(one)
    times = client.times.get(one.type_url)
    waiting_s = since_s if one.waiting else None
    return {
        "type_url": one.type_url,
        "state": state.value,
        "since": clock.at(since_s),
        "for_s": clock.age(since_s),
        "why": _why(state, one, client.group),
        "wildcard": one.wildcard,
        "names": one.names,
        "intended": one.intended_version,
        "sent": one.sent_version,
        "sent_at": clock.at(times.sent_s if times else None),
        "acked": one.acked_version,
        "acked_at": clock.at(times.acked_s if times else None),
        "pending_since": clock.at(waiting_s),
        "nacked": one.nack,
        "last_nack": _last_nack(times, clock),
    }


def _why(state: State, one: TypeStatus, group: str) -> str:
    """In a few words, why it is not in force."""
    if state is State.SYNCED:
        return ""
    if state is State.NOT_SENT:
        if one.intended_version:
            return "not its turn yet"
        if group == OVERLAY:
            return "its node.cluster is no declared Gateway: it is given endpoints alone"
        return "not in the snapshot"
    if one.nack:
        return "refused"
    return "no answer yet" if one.waiting else "held back until other types are taken"


def _last_nack(times: Times | None, clock: Clock) -> Document | None:
    if times is None or times.nacked_s is None:
        return None
    return {
        "message": times.nack,
        "version": times.nacked_version,
        "at": clock.at(times.nacked_s),
    }


@dataclass(slots=True)
class _Room:
    """How much a document may still hold."""

    most: int
    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLargeError(f"more than {self.most} bytes of resources; ask for one type")


def _bodies(found: Iterable[Report], side: Side, room: _Room) -> Iterator[Document]:
    for report in found:
        one = report.intended if side == "intended" else report.taken
        if one is not None:
            yield {**_body(report.type_url, one, room), "state": report.stage.value}


def _body(type_url: str, one: Resource, room: _Room) -> Document:
    document: Document = {"name": one.name, "version": one.version}
    if confidential(type_url, one.body):
        return {**document, "withheld": WITHHELD}
    if one.is_claimed:
        return {**document, "withheld": "the Envoy came with it, and only its version is known"}
    room.take(len(one.body))
    return {**document, "body": base64.b64encode(one.body).decode()}
