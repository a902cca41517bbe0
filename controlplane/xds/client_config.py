"""What client status discovery tells of a client: its node, and its resources by type.

A client that comes with several streams (one for each type) is one client, by its node id within
its group. Its streams may be in several processes, so what each of them tells goes between
processes as `Told`, and is put together where the question came.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane._pb import admin_pb2, base_pb2, status_pb2
from controlplane.model import NOWHERE
from controlplane.xds.confidential import confidential
from controlplane.xds.connection import Connection
from controlplane.xds.envelope import Node
from controlplane.xds.report import Report, Stage
from controlplane.xds.status import Client
from controlplane.xds.versions import Resource

_SYNCED = status_pb2.ConfigStatus.SYNCED
_STALE = status_pb2.ConfigStatus.STALE
_GenericXdsConfig = status_pb2.ClientConfig.GenericXdsConfig


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of one stream: ClientConfigs in bytes, which are one when they are joined."""

    node_id: str
    group: str
    since_s: float
    """When it connected, on the monotonic clock, which all processes of a machine share."""
    node: bytes
    types: Mapping[str, bytes]
    """Its resources by type URL, also of a type of which there are none."""

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.node) + sum(map(len, self.types.values()))


def by_node(connections: Iterable[Connection]) -> list[list[Connection]]:
    """The streams of each client, in the order of its id and of their age, newest first."""
    found: dict[tuple[str, str], list[Connection]] = {}
    for one in connections:
        found.setdefault((one.node.id, one.group), []).append(one)
    ordered = sorted(found.items())
    return [sorted(streams, key=lambda one: -one.since_s) for _, streams in ordered]


def tell(stream: Connection, but: Collection[str], contents: bool, most_bytes: int) -> Told | None:
    """What one stream has of all types but these; None where that is larger."""
    client = stream.client()
    node = status_pb2.ClientConfig(node=_node(client.node)).SerializeToString()
    types = {one.type_url: b"" for one in client.types if one.type_url not in but}
    made = {url: status_pb2.ClientConfig() for url in types}
    size = len(node)
    for report in stream.reports():
        config = made.get(report.type_url)
        if config is None:
            continue
        one = _generic(report, client, contents)
        size += one.ByteSize() + 16
        if size > most_bytes:
            return None
        config.generic_xds_configs.append(one)
    types |= {url: config.SerializeToString() for url, config in made.items()}
    return Told(client.node.id, client.group, client.since_s, node, types)


def joined(told: Iterable[Told], most_bytes: int) -> bytes | None:
    """A ClientStatusResponse in the order of the clients' ids; None where that is larger. Of two
    streams of a client with the same type the newer counts.
    """
    clients: dict[tuple[str, str], list[bytes]] = {}
    types: dict[tuple[str, str], set[str]] = {}
    size = 0
    for one in sorted(told, key=lambda one: (one.node_id, one.group, -one.since_s)):
        client = (one.node_id, one.group)
        config = clients.setdefault(client, [])
        known = types.setdefault(client, set())
        new = [] if config else [one.node]
        new += [body for url, body in one.types.items() if url not in known]
        known.update(one.types)
        size += sum(map(len, new))
        if size > most_bytes:
            return None
        config += new
    response = status_pb2.ClientStatusResponse()
    for config in clients.values():
        response.config.add().MergeFromString(b"".join(config))
    answer = response.SerializeToString()
    return answer if len(answer) <= most_bytes else None


def _node(node: Node) -> base_pb2.Node:
    made = base_pb2.Node(id=node.id, cluster=node.cluster, user_agent_name=node.user_agent)
    if node.where != NOWHERE:
        made.locality.region, made.locality.zone = node.where.region, node.where.zone
    if node.metadata:
        ParseDict(dict(node.metadata), made.metadata)
    return made


def _generic(
    report: Report, client: Client, contents: bool
) -> status_pb2.ClientConfig.GenericXdsConfig:
    times = client.times.get(report.type_url)
    config_status, client_status = _statuses(report)
    made = _GenericXdsConfig(
        type_url=report.type_url,
        name=report.name,
        config_status=config_status,
        client_status=client_status,
    )
    if report.taken is not None:
        made.version_info = report.taken.version
        if times is not None and times.acked_s is not None:
            made.last_updated.CopyFrom(_stamp(times.acked_s))
        if contents and _shown(report.type_url, report.taken):
            made.xds_config.type_url = report.type_url
            made.xds_config.value = report.taken.body
    if report.stage is Stage.REFUSED and report.intended is not None:
        failed = made.error_state
        failed.version_info = report.intended.version
        if times is not None and times.nacked_s is not None:
            failed.details = times.nack
            failed.last_update_attempt.CopyFrom(_stamp(times.nacked_s))
        if contents and _shown(report.type_url, report.intended):
            failed.failed_configuration.type_url = report.type_url
            failed.failed_configuration.value = report.intended.body
    return made


def _statuses(report: Report) -> tuple[status_pb2.ConfigStatus, admin_pb2.ClientResourceStatus]:
    """How it stands for us, and for the client."""
    theirs = admin_pb2.ClientResourceStatus
    has = theirs.ACKED if report.taken is not None else theirs.REQUESTED
    match report.stage:
        case Stage.IN_FORCE:
            return _SYNCED, theirs.ACKED
        case Stage.ABSENT:
            return _SYNCED, theirs.DOES_NOT_EXIST
        case Stage.REFUSED:
            return status_pb2.ConfigStatus.ERROR, theirs.NACKED
        case Stage.AWAITED:
            return _STALE, has
        case Stage.NOT_SENT:
            behind = _STALE if report.taken is not None else status_pb2.ConfigStatus.NOT_SENT
            return behind, has


def _shown(type_url: str, one: Resource) -> bool:
    """Not what a client says that it has, of which we know only the version."""
    return not one.is_claimed and not confidential(type_url, one.body)


def _stamp(monotonic_s: float) -> Timestamp:
    made = Timestamp()
    made.FromNanoseconds(round((time.time() - time.monotonic() + monotonic_s) * 1e9))
    return made
