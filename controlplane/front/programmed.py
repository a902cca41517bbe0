"""How far the Envoys of a fleet are with what they should run, from what they ACKed. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from controlplane.resources.conditions import Programming
from controlplane.xds.effects import TypeStatus
from controlplane.xds.kinds import ENDPOINT, kind_of
from controlplane.xds.status import Client, State, state_of

MOST_CHARACTERS = 1024
"""Of a refusal: a condition holds no more."""

MOST_REFUSALS = 20
"""Of a fleet, in words."""


@dataclass(frozen=True, slots=True)
class Taking:
    """Where an Envoy stands, as one process sees it. It may have streams to several."""

    node: str
    listens: bool
    """It asks for listeners, as every Envoy does that is configured from here."""
    synced: bool
    """It has taken all that it asked for."""
    refusal: str = ""
    """What it refuses, and why."""


def takings(clients: Sequence[Client]) -> list[Taking]:
    """Of the Envoys that these streams are of; each may have several, one for each type."""
    by_node: dict[str, list[TypeStatus]] = {}
    for client in clients:
        by_node.setdefault(client.node.id, []).extend(client.types)
    return [_taking(node, types) for node, types in by_node.items()]


def brief(envoys: Iterable[Taking]) -> list[Taking]:
    """The same in the order of their ids; of many refusals the first alone in their words."""
    found, words = [], 0
    for one in sorted(envoys, key=lambda one: one.node):
        if one.refusal:
            words += 1
            if words > MOST_REFUSALS:
                one = replace(one, refusal=one.refusal.partition(":")[0])
        found.append(one)
    return found


def programming(clients: Sequence[Client], elsewhere: Iterable[Taking] = ()) -> Programming:
    """`clients` are the streams of a fleet; `elsewhere` those that other replicas have."""
    envoys: dict[str, Taking] = {}
    for one in itertools.chain(takings(clients), elsewhere):
        known = envoys.get(one.node)
        envoys[one.node] = one if known is None else _joined(known, one)
    refusals = sorted(f"{one.node} refuses {one.refusal}" for one in envoys.values() if one.refusal)
    return Programming(
        envoys=len(envoys),
        taken=sum(one.listens and one.synced for one in envoys.values()),
        refusal=refusals[0] if refusals else "",
    )


def _joined(one: Taking, other: Taking) -> Taking:
    return Taking(
        one.node,
        one.listens or other.listens,
        one.synced and other.synced,
        one.refusal or other.refusal,
    )


def _taking(node: str, types: Sequence[TypeStatus]) -> Taking:
    wanted = [one for one in types if one.intended_version]
    refused = [f"{kind_of(one.type_url).name}: {one.nack}" for one in types if one.nack]
    return Taking(
        node,
        any(kind_of(one.type_url).name == "lds" for one in wanted),
        all(map(_is_taken, wanted)),
        refused[0][:MOST_CHARACTERS] if refused else "",
    )


def _is_taken(one: TypeStatus) -> bool:
    """Assignments of endpoints change all the time, and with no object: to have some is enough."""
    if one.type_url == ENDPOINT:
        return bool(one.acked_version) and not one.nack
    return state_of(one) is State.SYNCED
