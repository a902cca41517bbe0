"""Resource by resource: what a client should have, what it has, and why these differ.

Read from the standing of each type when somebody asks, so that it costs a push nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from controlplane.xds.standing import Standing
from controlplane.xds.steps import resolved, select
from controlplane.xds.versions import Resource, ResourceSet


class Stage(StrEnum):
    """How far a resource has come on its way to a client."""

    IN_FORCE = "in force"
    """The client has taken what it should have."""
    ABSENT = "absent"
    """It asked for a name that does not exist, and was told so."""
    REFUSED = "refused"
    """It refused the response with what it should have."""
    AWAITED = "awaited"
    """It was sent what it should have, or that it is gone, and has not answered."""
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Report:
    """One resource of one client."""

    type_url: str
    name: str
    stage: Stage
    intended: Resource | None
    """What it should have; None: nothing of this name."""
    taken: Resource | None
    """What it took last; None: nothing that we know of. It may be without a body, where a client
    came with a resource of which we know only the version."""


def reports(standings: Iterable[tuple[Standing, ResourceSet | None]]) -> Iterator[Report]:
    """Every resource that a client asked for, should have, or has, in the order of the types."""
    for standing, target in standings:
        yield from _of_type(standing, target)


def _of_type(standing: Standing, target: ResourceSet | None) -> Iterator[Report]:
    kind, wants = standing.kind, standing.wants
    if kind.aliased and target is not None:
        wants = resolved(target, wants)
    should = select(kind, target, wants) if target is not None else []
    intended = {one.name: one for one in should}
    taken = {name: one for name, one in standing.taken.by_name.items() if wants.covers(name)}
    for name in sorted(intended.keys() | taken.keys() | wants.names):
        stage = _stage(standing, target, intended.get(name), name)
        has = taken.get(name)
        yield Report(kind.type_url, name, stage, intended.get(name), has)


def _stage(
    standing: Standing, target: ResourceSet | None, intended: Resource | None, name: str
) -> Stage:
    taken = standing.taken.by_name.get(name)
    if intended is None:
        if target is None and taken is not None:
            return Stage.IN_FORCE  # the type left the snapshot: what the client has stays
        if taken is None and name in standing.taken.by_name:
            return Stage.ABSENT
        if taken is None:
            return Stage.NOT_SENT
        return Stage.AWAITED
    if taken is not None and taken.version == intended.version:
        return Stage.IN_FORCE
    step = standing.waiting
    if step is not None and step.has.by_name.get(name) is intended:
        return Stage.AWAITED
    if standing.nack is not None and standing.seen is target and _suspected(standing, intended):
        return Stage.REFUSED
    return Stage.NOT_SENT


def _suspected(standing: Standing, one: Resource) -> bool:
    """Whether a response that was refused had it. One without names was refused as a whole."""
    return any(
        (one.name, one.version) in content or any(not name for name, _ in content)
        for content in standing.refused.contents
    )
