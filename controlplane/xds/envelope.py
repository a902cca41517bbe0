"""Between bytes on the wire and the values of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
from controlplane.xds.effects import Request, Send
from controlplane.xds.steps import Mode, Step
from controlplane.xds.versions import Resource

_REMEMBERED = 512
_REMEMBERED_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Node:
    """Who is at the other end, as it says itself."""

    id: str
    cluster: str = ""
    region: str = ""
    zone: str = ""
    user_agent: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)


class GarbageError(Exception):
    """Bytes that are not a request."""


class Decoder:
    """Reads the requests of one mode; `implied_type` is the type where a request names none.

    Envoys with the same subscription acknowledge a version with the same bytes, so the last few
    hundred small requests are remembered; they also share the frozen sets of names.
    """

    def __init__(self, mode: Mode, implied_type: str = "") -> None:
        self.mode = mode
        self._implied_type = implied_type
        self._known: dict[bytes, Request] = {}

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
        if message is not None:
            return request, _node(message)
        if len(raw) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[raw] = request
        return request, None

    def _read_sotw(self, raw: bytes) -> tuple[Request, NodeMessage | None]:
        message = DiscoveryRequest.FromString(raw)
        request = Request(
            type_url=message.type_url or self._implied_type,
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
            names=frozenset(message.resource_names),
        )
        return request, message.node if message.HasField("node") else None

    def _read_delta(self, raw: bytes) -> tuple[Request, NodeMessage | None]:
        message = DeltaDiscoveryRequest.FromString(raw)
        request = Request(
            type_url=message.type_url or self._implied_type,
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
            names=frozenset(message.resource_names_subscribe),
            unsubscribe=frozenset(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions),
        )
        return request, message.node if message.HasField("node") else None


def _node(message: NodeMessage) -> Node:
    return Node(
        id=message.id,
        cluster=message.cluster,
        region=message.locality.region,
        zone=message.locality.zone,
        user_agent=message.user_agent_name,
        metadata=MessageToDict(message.metadata) if message.HasField("metadata") else {},
    )


def response(mode: Mode, send: Send) -> bytes:
    """The bytes of a response: one object for all streams that are sent the same."""
    encoded = send.step.encoded
    found = encoded.get(send.nonce)
    if found is None:
        write = _delta if mode is Mode.DELTA else _sotw
        found = encoded[send.nonce] = write(send.type_url, send.nonce, send.step)
    return found


def _sotw(type_url: str, nonce: str, step: Step) -> bytes:
    return DiscoveryResponse(
        version_info=step.version,
        resources=[Any(type_url=type_url, value=one.body) for one in step.resources],
        type_url=type_url,
        nonce=nonce,
    ).SerializeToString()


def _body(type_url: str, one: Resource, step: Step) -> Any | None:
    """None: nothing answers to the alias."""
    if not one.body and one.name in step.aliases:
        return None
    return Any(type_url=type_url, value=one.body)


def _delta(type_url: str, nonce: str, step: Step) -> bytes:
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
        nonce=nonce,
        removed_resources=step.removed,
    ).SerializeToString()
