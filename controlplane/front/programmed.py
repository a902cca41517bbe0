"""How far the Envoys of a fleet are with what they should run, from what they ACKed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.resources.conditions import Programming
from controlplane.xds.effects import TypeStatus
from controlplane.xds.kinds import ENDPOINT, kind_of
from controlplane.xds.status import Client, State, state_of


def programming(clients: Sequence[Client]) -> Programming:
    """`clients` are the streams of a fleet; an Envoy may have several, one for each type."""
    by_node: dict[str, list[TypeStatus]] = {}
    for client in clients:
        by_node.setdefault(client.node.id, []).extend(client.types)
    refusals = [
        f"{node} refuses {kind_of(one.type_url).name}: {one.nack}"
        for node, types in sorted(by_node.items())
        for one in types
        if one.nack
    ]
    return Programming(
        envoys=len(by_node),
        taken=sum(_has_taken(types) for types in by_node.values()),
        refusal=refusals[0] if refusals else "",
    )


def _has_taken(types: Sequence[TypeStatus]) -> bool:
    """Listeners are asked for by every Envoy that is configured from here."""
    wanted = [one for one in types if one.intended_version]
    listens = any(kind_of(one.type_url).name == "lds" for one in wanted)
    return listens and all(map(_is_taken, wanted))


def _is_taken(one: TypeStatus) -> bool:
    """Assignments of endpoints change all the time, and with no object: to have some is enough."""
    if one.type_url == ENDPOINT:
        return bool(one.acked_version) and not one.nack
    return state_of(one) is State.SYNCED
