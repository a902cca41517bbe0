"""Between bytes on the wire and the values of the state machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.discovery_pb2 import (
    Any,
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from controlplane._pb.discovery_pb2 import Resource as ResourceMessage
from controlplane.model import NOWHERE, Zone
from controlplane.xds.effects import Request, Send
from controlplane.xds.steps import Mode, Step
from controlplane.xds.versions import Resource

MAX_TEXT = 4096
"""Characters of a name, a type URL, or what a node says of itself; what is kept of a refusal."""
_REMEMBERED = 512
_REMEMBERED_BYTES = 16_384
_REMEMBERED_ALL_BYTES = 512 * 1024  # read, a request takes up to thirty times its bytes


@dataclass(frozen=True, slots=True)
class Node:
    """Who is at the other end, as it says itself."""

    id: str
    cluster: str = ""
    where: Zone = NOWHERE
    user_agent: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)


class GarbageError(Exception):
    """Bytes that are not a request, or none that we take."""


class Decoder:
    """Reads the requests of one mode; `implied_type` is the type where a request names none.

    Envoys with the same subscription acknowledge a version with the same bytes, so the last few
    hundred small requests are remembered; they also share the frozen sets of names.
    """

    def __init__(self, mode: Mode, implied_type: str = "") -> None:
        self.mode = mode
        self._implied_type = implied_type
        self._known: dict[bytes, Request] = {}
        self._known_bytes = 0

    def request(self, raw: bytes) -> tuple[Request, Node | None]:
        """The request, and the node where it names one. Raises `GarbageError`."""
        known = self._known.get(raw)
        if known is not None:
            return known, None
        try:
            read = self._read_delta if self.mode is Mode.DELTA else self._read_sotw
            request, message = read(raw)
        except (DecodeError, UnicodeDecodeError) as error:
            raise GarbageError(f"not a discovery request: {error}") from error
        _require_short(
            (request.type_url,),
            request.names,
            request.unsubscribe,
            request.initial_versions,
            request.initial_versions.values(),
        )
        if message is not None:
            return request, _node(message)
        if len(raw) <= _REMEMBERED_BYTES:
            self._remember(raw, request)
        return request, None

    def _remember(self, raw: bytes, request: Request) -> None:
        full = self._known_bytes + len(raw) > _REMEMBERED_ALL_BYTES
        if full or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._known_bytes = 0
        self._known[raw] = request
        self._known_bytes += len(raw)

    def _read_sotw(self, raw: bytes) -> tuple[Request, NodeMessage | None]:
        message = DiscoveryRequest.FromString(raw)
        request = Request(
            type_url=message.type_url or self._implied_type,
            nonce=message.response_nonce,
            error=_refusal(message),
            names=frozenset(message.resource_names),
        )
        return request, message.node if message.HasField("node") else None

    def _read_delta(self, raw: bytes) -> tuple[Request, NodeMessage | None]:
        message = DeltaDiscoveryRequest.FromString(raw)
        request = Request(
            type_url=message.type_url or self._implied_type,
            nonce=message.response_nonce,
            error=_refusal(message),
            names=frozenset(message.resource_names_subscribe),
            unsubscribe=frozenset(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions),
        )
        return request, message.node if message.HasField("node") else None


def _node(message: NodeMessage) -> Node:
    place = message.locality
    _require_short((message.id, message.cluster, place.region, place.zone, message.user_agent_name))
    try:
        metadata = MessageToDict(message.metadata) if message.HasField("metadata") else {}
    except ValueError as error:  # a number that is none
        raise GarbageError(f"node.metadata: {error}") from error
    return Node(
        id=message.id,
        cluster=message.cluster,
        where=Zone(place.region, place.zone),
        user_agent=message.user_agent_name,
        metadata=metadata,
    )


def _refusal(message: DiscoveryRequest | DeltaDiscoveryRequest) -> str | None:
    """Why the client refuses; None when it does not. It may quote a whole resource."""
    return message.error_detail.message[:MAX_TEXT] if message.HasField("error_detail") else None


def _require_short(*texts: Iterable[str]) -> None:
    longest = max(map(len, chain(*texts)), default=0)
    if longest > MAX_TEXT:
        raise GarbageError(f"a name of {longest} characters: at most {MAX_TEXT}")


def response(mode: Mode, send: Send) -> bytes:
    """The bytes of a response: one object for all streams that are sent the same.

    The fields of a message may stand in any order, and the nonce comes last. So where a response
    goes out with another nonce, all before it is copied and nothing is encoded again.
    """
    wire = send.step.wire
    if wire.nonce == send.nonce:
        return wire.raw
    end = _nonce(send.nonce)
    if wire.raw:
        raw = b"".join((memoryview(wire.raw)[: -len(_nonce(wire.nonce))], end))
    else:
        write = _delta if mode is Mode.DELTA else _sotw
        raw = write(send.type_url, send.step) + end
    if wire.kept:
        wire.nonce, wire.raw = send.nonce, raw
    return raw


def _nonce(nonce: str) -> bytes:
    """The field alone. Its number is the same in both variants."""
    return DiscoveryResponse(nonce=nonce).SerializeToString()


def _sotw(type_url: str, step: Step) -> bytes:
    return DiscoveryResponse(
        version_info=step.version,
        resources=[Any(type_url=type_url, value=one.body) for one in step.resources],
        type_url=type_url,
    ).SerializeToString()


def _body(type_url: str, one: Resource, step: Step) -> Any | None:
    """None: nothing answers to the alias."""
    if not one.body and one.name in step.aliases:
        return None
    return Any(type_url=type_url, value=one.body)


def _delta(type_url: str, step: Step) -> bytes:
    return DeltaDiscoveryResponse(
        system_version_info=step.version,
        resources=[
            ResourceMessage(
                name=one.name,
                version=one.version,
                resource=_body(type_url, one, step),
                aliases=step.aliases.get(one.name, ()),
            )
            for one in step.resources
        ],
        type_url=type_url,
        removed_resources=step.removed,
    ).SerializeToString()
