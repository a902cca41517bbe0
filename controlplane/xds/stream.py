"""What the server believes about one stream, and what it says next. No gRPC, no I/O, no clock.

Requests and snapshots go in; what is to be written, and what was learned, comes out. State of the
world and Delta are this one machine: they differ in how a request changes a subscription
(`subscription`) and in what a response holds (`steps`). The rules are those of docs/xds.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.xds.confidential import told
from controlplane.xds.effects import (
    Acked,
    Close,
    Effect,
    Nacked,
    Request,
    Send,
    TypeStatus,
    Unknown,
)
from controlplane.xds.kinds import CLUSTER, Kind, kind_of
from controlplane.xds.refusals import NONE, TRIES, TRIES_AFRESH, acquit, refuse
from controlplane.xds.standing import Standing
from controlplane.xds.steps import (
    Holding,
    Mode,
    Position,
    Step,
    resolved,
    select,
    shared_step,
)
from controlplane.xds.subscription import WILDCARD, Wants, amended, replaced
from controlplane.xds.versions import Resource, ResourceSet, nothing_of

View = Mapping[str, ResourceSet]
"""A snapshot of one group: type URL -> resources."""

MAX_NAMES = 50_000
MAX_TYPES = 64


class Stream:
    """One stream. `view` is what the client's group should run."""

    def __init__(self, mode: Mode, view: View, *, max_names: int = MAX_NAMES) -> None:
        self.mode = mode
        self._view = view
        self._max_names = max_names
        self._types: dict[str, Standing] = {}
        self._order: list[Standing] = []

    def on_request(self, request: Request) -> list[Effect]:
        """A first subscription, an ACK, a NACK, a change of names, a question, or old news."""
        most = max(len(request.names), len(request.unsubscribe), len(request.initial_versions))
        if most > self._max_names:
            return [self._too_many(most)]
        state = self._types.get(request.type_url)
        first = state is None
        if state is None:
            if len(self._types) >= MAX_TYPES:
                return [Close("RESOURCE_EXHAUSTED", f"more than {MAX_TYPES} types on one stream")]
            state = self._add(request.type_url)
        effects: list[Effect] = []
        if first and self._target(state) is None:
            effects.append(Unknown(request.type_url))
        current = first or request.nonce == state.nonce
        answered = state.waiting is None
        if current and not first:
            self._answer(state, request, effects)
        if self.mode is Mode.DELTA:
            self._amend(state, request, first)
        elif current:
            self._list(state, request, first, question=answered and request.error is None)
        else:
            self._overhear(state, request)
        if len(state.wants.names) > self._max_names:
            return [*effects, self._too_many(len(state.wants.names))]
        self._pump(effects)
        return effects

    def on_view(self, view: View) -> list[Effect]:
        """The snapshot of the client's group changed."""
        self._view = view
        effects: list[Effect] = []
        self._pump(effects)
        return effects

    def on_deadline(self) -> list[Effect]:
        """The clusters that something waits for are late: it goes out without them.

        One that takes long to warm up must not keep all routes from changing. Not those of a
        refused response: what the client runs now is better than a route to nowhere.
        """
        for state in self._order:
            state.unproven = frozenset()
        effects: list[Effect] = []
        self._pump(effects)
        return effects

    def on_pause(self) -> list[Effect]:
        """Some time has passed: who refused suspects again and again may be asked once more."""
        for state in self._order:
            state.tries = max(state.tries, TRIES_AFRESH)
        effects: list[Effect] = []
        self._pump(effects)
        return effects

    def pauses(self) -> bool:
        """Whether something is left to be tried after a pause."""
        return any(state.tries <= 0 and state.more for state in self._order)

    def awaits(self) -> bool:
        """Whether something waits for clusters that the client has not answered yet."""
        return any(state.awaits for state in self._order) and any(
            state.unproven for state in self._order
        )

    def status(self) -> tuple[TypeStatus, ...]:
        """Where the client stands, in the order of the types."""
        return tuple(state.status(self._target(state)) for state in self._order)

    def standings(self) -> Iterator[tuple[Standing, ResourceSet | None]]:
        """Every type and what it should converge to, in the order of the types; to be read only."""
        for state in self._order:
            yield state, self._target(state)

    def _too_many(self, names: int) -> Close:
        return Close("RESOURCE_EXHAUSTED", f"{names} names of one type: at most {self._max_names}")

    def _add(self, type_url: str) -> Standing:
        state = self._types[type_url] = Standing(kind_of(type_url))
        self._order = sorted(self._types.values(), key=lambda one: one.kind.rank)
        return state

    def _target(self, state: Standing) -> ResourceSet | None:
        """The set to converge to; None while the type is unknown."""
        found = self._view.get(state.kind.type_url)
        if found is None and state.kind.absent is not None:
            return state.seen or nothing_of(state.kind.type_url)
        return found

    def _named(self, state: Standing) -> Wants:
        """What is wanted, by the names of the resources that answer."""
        target = self._target(state)
        if not state.kind.aliased or target is None:
            return state.wants
        return resolved(target, state.wants)

    def _wanted(self, state: Standing) -> dict[str, str]:
        """The versions of what is wanted now."""
        target = self._target(state)
        if target is None:
            return {}
        return {one.name: one.version for one in select(state.kind, target, self._named(state))}

    # What a request says

    def _answer(self, state: Standing, request: Request, effects: list[Effect]) -> None:
        """The client speaks of the response that was sent last: ACK, NACK, or neither."""
        step, state_url = state.waiting, state.kind.type_url
        if step is None:  # it was answered before
            return
        if request.error is not None:
            state.nack = told(request.error, state_url, step.resources)
            effects.append(Nacked(state_url, state.sent_version, state.nack))
            state.refused = refuse(state.refused, step.suspects(), self._wanted(state))
            state.tries -= step.tries
            state.more = True  # what was refused with something bad is tried apart
            state.has = step.has_when_refused.only(self._named(state))
            state.dirty |= bool(step.removed and step.resources)
            refused = state.unproven & {one.name for one in step.changed}
            state.unproven -= refused
            state.doubted |= refused
        else:
            state.acked_version = step.version
            if state.refused:
                state.refused = acquit(state.refused, step.resources)
                state.tries = TRIES
            state.took(step)
            if step.complete:
                state.nack = None
            if state.unproven or state.doubted:
                taken = {one.name for one in step.resources}
                state.unproven -= taken
                state.doubted -= taken
            effects.append(Acked(state_url, step.version))
        state.waiting = None

    def _list(self, state: Standing, request: Request, first: bool, *, question: bool) -> None:
        """State of the world: the request lists everything that is wanted."""
        if first:
            state.owes = True
        elif request.names is state.listed or request.names == state.listed:
            if question:  # rule 21: the ACK of this nonce came before
                state.again = frozenset({WILDCARD})
            return
        before = state.wants
        state.listed = request.names
        state.wants = wants = replaced(before, request.names)
        state.has = state.has.only(wants)
        state.dirty = True
        added = wants.names - before.names
        target = self._target(state)
        if added and not before.wildcard and target is not None and state.kind.absent is None:
            state.owes |= not wants.wildcard and wants.names.isdisjoint(target.by_name)

    def _overhear(self, state: Standing, request: Request) -> None:
        """State of the world, an old nonce: not answered (rule 17), but what it no longer lists
        the client has dropped, and wants again if the ACK that follows lists it (rule 16).
        """
        has = state.has.doubting(replaced(state.wants, request.names))
        if has is not state.has:
            state.has = has
            state.listed = None

    def _amend(self, state: Standing, request: Request, first: bool) -> None:
        """Delta: the request says what is added and what is dropped, whatever its nonce."""
        subscribe, unsubscribe = request.names, request.unsubscribe
        if first:
            claimed = request.initial_versions
            state.owes = not claimed
            state.wants = amended(state.wants, subscribe, unsubscribe, first=True)
            state.has = Holding(
                {name: Resource.claimed(name, claimed[name]) for name in claimed}
            ).only(self._named(state))
            return
        if not subscribe and not unsubscribe:
            return
        before = state.wants
        state.wants = wants = amended(before, subscribe, unsubscribe, first=False)
        state.has = state.has.only(self._named(state))
        state.dirty = True
        if wants.wildcard:  # rule 29: it is still covered, so the client is told what it is
            state.again |= unsubscribe & before.names
        state.again = frozenset(
            name for name in state.again | subscribe if name != WILDCARD and wants.covers(name)
        )

    # What is said next

    def _pump(self, effects: list[Effect]) -> None:
        """Send whatever may be sent now, in the order of the types (rule 6)."""
        held = False
        for state in self._order:
            if state.waiting is None and not self._is_early(state.kind):
                self._advance(state, effects)
            held |= state.holds
        if held:  # what they wait for may have come to pass just now
            for state in self._order:
                if state.holds and state.waiting is None:
                    self._advance(state, effects)

    def _is_early(self, kind: Kind) -> bool:
        """Whether a type has to wait for others."""
        heeded = (self._types.get(type_url) for type_url in kind.heeds)
        return self._is_behind(kind.after) or any(
            not one.awaits.isdisjoint(self._not_taken(one.kind)[0])
            for one in heeded
            if one is not None
        )

    def _is_behind(self, type_urls: tuple[str, ...]) -> bool:
        """Whether one of these types has news that cannot be sent before its ACK."""
        for type_url in type_urls:
            state = self._types.get(type_url)
            if state is not None and state.waiting is not None:
                target = self._target(state)
                waits = state.seen is target and (state.holds or bool(state.awaits))
                if state.has_news(target) and not waits:
                    return True
        return False

    def _advance(self, state: Standing, effects: list[Effect]) -> None:
        target = self._view.get(state.kind.type_url) or self._target(state)
        if target is None or not state.has_news(target):
            return
        asked = state.dirty or state.owes or state.more or bool(state.again)
        dependents = state.kind.removals_after
        hold = bool(dependents) and not all(map(self._settled, dependents))
        if state.holds and hold and state.seen is target and not asked:
            return  # still waiting for the same ACKs
        if state.seen is not target:
            state.tries = max(state.tries, TRIES_AFRESH)
        unproven, doubted = self._not_taken(state.kind)
        same = state.seen is target and not asked
        if state.awaits and same and state.awaits <= unproven | doubted:
            return
        position = self._position(state, target, hold, unproven, doubted)
        step = shared_step(state.kind, target, position)
        if state.kind.warms and step.speaks:
            state.unproven |= {
                one.name for one in step.changed if state.has.by_name.get(one.name) is None
            }
        state.has = step.has
        if state.unproven or state.doubted:
            there = {name for name, one in step.has.by_name.items() if one is not None}
            state.unproven &= there
            state.doubted &= there
        state.seen = target
        state.again = frozenset()
        state.dirty = False
        state.owes = state.owes and bool(step.awaits) and not step.speaks
        state.more = step.more
        state.turn = step.speaks and step.more and not step.tries
        state.awaits = step.awaits
        state.holds = hold and not step.complete
        if step.speaks:
            effects.append(self._send(state, target, step))
            if state.kind.warms:
                self._warm(state.kind, step)
        elif step.complete:  # the client has all that this version holds for it
            state.sent_version = state.acked_version = step.version
            state.nack = None
            state.took(step)

    def _position(
        self,
        state: Standing,
        target: ResourceSet,
        hold: bool,
        unproven: frozenset[str],
        doubted: frozenset[str],
    ) -> Position:
        refused = state.refused
        if refused and not state.kind.whole:  # else those with another past share no answers
            refused = refused.at(target.by_name, made_up=state.kind.absent is not None) or NONE
        return Position(
            self.mode,
            state.wants,
            state.has,
            state.again,
            state.owes,
            refused,
            not refused or state.tries > 0,
            state.turn,
            hold,
            unproven,
            doubted,
        )

    def _not_taken(self, kind: Kind) -> tuple[frozenset[str], frozenset[str]]:
        """(sent and not answered, refused): clusters that are new to the client."""
        if kind.refers is None or (clusters := self._types.get(CLUSTER)) is None:
            return frozenset(), frozenset()
        return clusters.unproven, clusters.doubted

    def _settled(self, type_url: str) -> bool:
        state = self._types.get(type_url)
        return state is None or state.settled(self._target(state))

    def _send(self, state: Standing, target: ResourceSet, step: Step) -> Send:
        if state.generation == target.generation:
            state.repeats += 1
        else:
            state.generation, state.repeats = target.generation, 0
        state.nonce = f"{step.version}-{target.generation:x}"
        if state.repeats:
            state.nonce += f".{state.repeats}"
        state.waiting = step
        state.sent_version = step.version
        return Send(state.kind.type_url, state.nonce, step)

    def _warm(self, kind: Kind, step: Step) -> None:
        """What a changed resource warms on is sent again, even when unchanged (rules 20, 30)."""
        warmed = self._types.get(kind.warms)
        if warmed is None or kind.warmed is None:
            return
        names = {kind.warmed(one.name, one.body) for one in step.changed}
        warmed.again |= {name for name in names if warmed.wants.covers(name)}
