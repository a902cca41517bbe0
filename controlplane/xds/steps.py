"""From what a client has to what it should have: the content of one response. A pure function.

`step` looks at every resource that is wanted; `shared_step` asks it once for all streams that are
in the same position, which is what makes a push to a thousand Envoys cost one (the answers live
in the set they lead to, and go with it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

from controlplane.xds.aliases import answering
from controlplane.xds.kinds import Kind
from controlplane.xds.memo import Wire
from controlplane.xds.refusals import NONE, Refusals, Suspects, attempt, judge
from controlplane.xds.subscription import WILDCARD, Wants
from controlplane.xds.versions import Resource, ResourceSet, version_of

_NAME_BYTES = 120  # about what a name costs in a set and a mapping, besides its characters
_STEP_BYTES = 1024  # and a step without any


class Mode(StrEnum):
    """The two variants of the protocol."""

    SOTW = "sotw"
    DELTA = "delta"


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """What we believe a client has of one type. `None`: it was told that there is no such thing.

    Compared by identity, and shared by all streams that have the same.
    """

    by_name: Mapping[str, Resource | None]

    def only(self, wants: Wants) -> Holding:
        """What is left of it after a change of the subscription."""
        kept = {name: one for name, one in self.by_name.items() if wants.covers(name)}
        return self if len(kept) == len(self.by_name) else Holding(kept)

    def doubting(self, heard: Wants) -> Holding:
        """The same where the client may have dropped what is not covered."""
        doubted = {
            name: one.unsure()
            for name, one in self.by_name.items()
            if one is not None and not heard.covers(name)
        }
        return Holding({**self.by_name, **doubted}) if doubted else self

    def surely(self, before: Holding) -> Holding:
        """The same with what there was before in place of what the client may or may not have."""
        known = before.by_name
        sure = {
            name: known.get(name) if one is not None and one.is_unsure else one
            for name, one in self.by_name.items()
            if one is None or not one.is_unsure or name in known
        }
        return Holding(sure)


NOTHING = Holding({})


class Position(NamedTuple):
    """All that the next response to a stream depends on, besides the set to converge to.

    A tuple: one is made and hashed for each response.
    """

    mode: Mode
    wants: Wants
    has: Holding
    again: frozenset[str] = frozenset()
    """Names to send even when unchanged; `*` stands for all."""
    owes: bool = False
    """An answer is due even when there is nothing to say."""
    refused: Refusals = NONE
    """What the client NACKed; of a response that stands as a whole, one suspect without name."""
    may_try: bool = True
    """Suspects may be sent."""
    turn: bool = False
    """They waited for what is clean, and come first now."""
    hold_removals: bool = False
    unproven: frozenset[str] = frozenset()
    """Clusters that the client may still take: what newly sends to them waits."""
    doubted: frozenset[str] = frozenset()
    """Clusters of a response that it refused: what newly sends to them waits where the client
    has an older version of it to go on with."""


@dataclass(frozen=True, eq=False)
class Step:
    """What to say next, and what the client has when it was said."""

    speaks: bool
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    changed: tuple[Resource, ...]
    """Those resources that the client did not have in this version."""
    has: Holding
    complete: bool
    """Whether nothing is withheld, be it a removal or what the client refused."""
    more: bool
    """Whether something is left to be sent after this was answered."""
    awaits: frozenset[str]
    """Clusters that something of it waits for."""
    aliases: Mapping[str, tuple[str, ...]]
    """Resource -> the names that were asked for and that it answers to, where they are others."""
    tries: bool
    """Whether it consists of suspects."""
    content: str
    """What a NACK refuses, where it refuses the response as a whole; empty where each resource
    stands for itself."""
    wire: Wire = field(default_factory=Wire, repr=False)
    """The response, assembled once for all streams (see `envelope`)."""

    def suspects(self) -> Suspects:
        """What a NACK of it rules out."""
        if self.content:
            return frozenset({("", self.content)})
        return frozenset((one.name, one.version) for one in self.resources)

    @cached_property
    def has_when_refused(self) -> Holding:
        """What the client has after it NACKed this: of what was news, we cannot know.

        Removals that went with refused resources are said once more, without them.
        """
        news = {one.name: one.unsure() for one in self.changed}
        if self.resources:
            news |= {name: Resource.claimed(name, "?") for name in self.removed}
        return Holding({**self.has.by_name, **news})


def shared_step(kind: Kind, target: ResourceSet, position: Position) -> Step:
    """`step`, worked out once for every stream in this position."""
    memo = target.memo
    found: Step | None = memo.get(position)
    if found is None:
        found = _canonical(step(kind, target, position), target, position)
        memo.keep(position, found, _size(position, found), found.wire)
    return found


def _size(position: Position, made: Step) -> int:
    """About the bytes of a step, of what it is remembered by, and of the response it makes."""
    texts = (
        position.wants.names,
        position.again,
        position.has.by_name,
        made.has.by_name,
        made.removed,
    )
    names = sum(sum(map(len, each)) + _NAME_BYTES * len(each) for each in texts)
    bodies = sum(_NAME_BYTES + len(one.body) for one in made.resources)
    return _STEP_BYTES + names + bodies


def _canonical(made: Step, target: ResourceSet, position: Position) -> Step:
    """However they came there, streams that want the same and have all of it share one holding."""
    if not made.complete:
        return made
    key = (position.mode, position.wants)
    found: Holding | None = target.memo.get(key)
    if found is None:
        target.memo.keep(key, made.has, _size(position, made))
        return made
    return replace(made, has=found)


def step(kind: Kind, target: ResourceSet, position: Position) -> Step:
    """Compare what is wanted with what the client has."""
    aliases: dict[str, tuple[str, ...]] = {}
    if kind.aliased:
        for asked in sorted(position.wants.names):
            name = answering(target, asked)
            if name != asked or asked not in target.by_name:
                aliases[name] = (*aliases.get(name, ()), asked)
        again = frozenset(answering(target, asked) for asked in position.again)
        position = position._replace(wants=resolved(target, position.wants), again=again)
    wanted = select(kind, target, position.wants)
    if position.mode is Mode.DELTA:
        return replace(_delta(kind, target, position, wanted), aliases=aliases)
    return (_whole if kind.whole else _parts)(kind, target, position, wanted)


def resolved(target: ResourceSet, wants: Wants) -> Wants:
    """The same by the names of the resources that answer."""
    names = frozenset(answering(target, asked) for asked in wants.names)
    return wants._replace(names=names)


def _awaits(kind: Kind, position: Position, one: Resource) -> frozenset[str]:
    """The clusters that a changed resource waits for (rule 6)."""
    if kind.refers is None or not (position.unproven or position.doubted):
        return frozenset()
    before = position.has.by_name.get(one.name)
    new = kind.refers(one.body)
    if before is None:
        return new & position.unproven
    return (new - kind.refers(before.body)) & (position.unproven | position.doubted)


def _whole(kind: Kind, target: ResourceSet, position: Position, wanted: list[Resource]) -> Step:
    """State of the world, clusters and listeners: all or nothing (rule 13)."""
    has = position.has.by_name
    after: dict[str, Resource | None] = {one.name: one for one in wanted}
    changed = [one for one in wanted if _version(has.get(one.name)) != one.version]
    awaits = frozenset[str]().union(*(_awaits(kind, position, one) for one in changed))
    if awaits:
        has_now, no = position.has, False
        return Step(no, target.version, (), (), (), has_now, no, no, awaits, {}, no, "")
    gone = [one for name, one in has.items() if one and one.body and name not in after]
    total = target.total
    held_back = position.hold_removals and bool(gone)
    if held_back:
        wanted = wanted + gone
        after |= {one.name: one for one in gone}
        total += sum(one.part for one in gone)
    version = version_of(total)
    everything = position.wants.wildcard
    content = version if everything else version_of(sum(one.part for one in wanted))
    differs = bool(changed) or after.keys() != has.keys()
    refused = frozenset({("", content)}) in position.refused.contents
    return Step(
        speaks=not refused and (differs or position.owes or bool(position.again)),
        version=version,
        resources=tuple(wanted),
        removed=(),
        changed=tuple(changed),
        has=position.has if refused else Holding(after),
        complete=not refused and not held_back,
        more=False,
        awaits=awaits,
        aliases={},
        tries=False,
        content=content,
    )


def _parts(kind: Kind, target: ResourceSet, position: Position, wanted: list[Resource]) -> Step:
    """State of the world, all other types: what changed or is asked for (rule 14).

    A removal cannot be said here; the name is forgotten, so that it is sent when it comes back.
    """
    made = _chosen(_compare(kind, position, wanted), position, also=False)
    return Step(
        speaks=bool(made.fresh) or (position.owes and not made.awaits),
        version=target.version,
        resources=tuple(made.fresh),
        removed=(),
        changed=tuple(made.changed),
        has=Holding(made.after),
        complete=made.complete,
        more=made.more,
        awaits=made.awaits,
        aliases={},
        content="",
        tries=made.tries,
    )


def _delta(kind: Kind, target: ResourceSet, position: Position, wanted: list[Resource]) -> Step:
    """Delta: what changed, and what is gone (rules 23 and 24)."""
    has, again, wants = position.has.by_name, position.again, position.wants
    exists = {one.name for one in wanted}
    gone = {name for name, one in has.items() if one is not None and name not in exists}
    held_back = gone if position.hold_removals else set[str]()
    absent = {name for name in wants.names | again if name != WILDCARD and wants.covers(name)}
    absent -= exists
    removed = gone | {name for name in absent if name not in has or name in again}
    removed -= held_back
    made = _chosen(_compare(kind, position, wanted), position, also=bool(removed))
    after = made.after
    after |= {name: has[name] for name in held_back}
    after |= dict.fromkeys((absent & wants.names) - held_back)
    later = removed if made.tries else set[str]()  # with suspects, it might be refused with them
    after |= {name: Resource.claimed(name, "?") for name in later}
    removed = removed - later
    return Step(
        speaks=bool(made.fresh) or bool(removed) or (position.owes and not made.awaits),
        version=target.version,
        resources=tuple(made.fresh),
        removed=tuple(sorted(removed)),
        changed=tuple(made.changed),
        has=Holding(after),
        complete=made.complete and not held_back and not later,
        more=made.more or bool(later),
        awaits=made.awaits,
        aliases={},
        content="",
        tries=made.tries,
    )


class _Difference(NamedTuple):
    after: dict[str, Resource | None]
    """What the client has afterwards, but for what is clean or a suspect."""
    clean: list[Resource]
    """What is news or asked for."""
    suspects: list[Resource]
    """The same, of what the client may have refused (see `refusals`)."""
    awaits: frozenset[str]
    kept_back: bool


def _compare(kind: Kind, position: Position, wanted: list[Resource]) -> _Difference:
    """Resource by resource: what is news or asked for, and what is kept back: by a refusal, or
    because clusters that it newly sends to were not taken yet.
    """
    has, again, refused = position.has.by_name, position.again, position.refused
    banned, suspicious = judge(refused, wanted) if refused else _NO_REFUSALS
    everything = WILDCARD in again
    after: dict[str, Resource | None] = {}
    clean: list[Resource] = []
    suspects: list[Resource] = []
    awaits: frozenset[str] = frozenset()
    kept_back = False
    for one in wanted:
        name = one.name
        differs = _version(has.get(name)) != one.version
        if not differs and not everything and name not in again:
            after[name] = one
            continue
        missing = _awaits(kind, position, one) if differs else None
        if name in banned or missing:
            awaits |= missing or frozenset()
            kept_back |= differs
            if name in has:
                after[name] = has[name]
            continue
        (suspects if name in suspicious else clean).append(one)
    return _Difference(after, clean, suspects, awaits, kept_back)


_NO_REFUSALS: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


class _Chosen(NamedTuple):
    after: dict[str, Resource | None]
    """What the client has afterwards."""
    fresh: list[Resource]
    """What to send."""
    changed: list[Resource]
    """What of it is news."""
    complete: bool
    more: bool
    awaits: frozenset[str]
    tries: bool


def _chosen(found: _Difference, position: Position, *, also: bool) -> _Chosen:
    """What is clean, or else a company of suspects, never both. `also`: the clean has more to say.

    Who changes faster than a client answers must not keep the suspects waiting for ever, so it is
    their turn when they waited once.
    """
    has, (after, clean, suspects, awaits, kept_back) = position.has.by_name, found
    tries = bool(suspects) and position.may_try and (position.turn or not (clean or also))
    fresh = attempt(position.refused, suspects) if tries else clean
    sent = {one.name for one in fresh}
    later = [one for one in (*clean, *suspects) if one.name not in sent]
    for one in later:
        if _version(has.get(one.name)) == one.version:
            after[one.name] = one.unsure()  # it was asked for, and that must not be forgotten
        elif one.name in has:
            after[one.name] = has[one.name]
    after |= {one.name: one for one in fresh}
    changed = [one for one in fresh if _version(has.get(one.name)) != one.version]
    complete = not kept_back and not later
    return _Chosen(after, fresh, changed, complete, bool(later), awaits, tries)


def _version(one: Resource | None) -> str:
    return "" if one is None else one.version


def select(kind: Kind, target: ResourceSet, wants: Wants) -> list[Resource]:
    """What is wanted and exists, each name once (rule 10)."""
    by_name = target.by_name
    found = list(by_name.values()) if wants.wildcard else []
    for name in sorted(wants.names):
        one = by_name.get(name)
        if one is None and kind.absent is not None:
            found.append(_stand_in(kind, name))
        elif one is not None and not wants.wildcard:
            found.append(one)
    return found


@lru_cache(maxsize=1024)
def _stand_in(kind: Kind, name: str) -> Resource:
    assert kind.absent is not None
    return Resource.of(name, kind.absent(name))
