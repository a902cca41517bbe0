"""What can be made to go wrong, and a count of what was asked.

Every switch may be thrown from any thread while the server runs.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.kubernetes.apiserver import errors
from tests.kubernetes.apiserver.errors import ApiError
from tests.kubernetes.apiserver.requests import Request

KEPT_CALLS = 10_000


class Call(NamedTuple):
    """One request that was let in."""

    verb: str
    resource: str
    """`deployments.apps`, with `/status` where a subresource is meant."""
    namespace: str
    name: str
    user: str
    agent: str


class Calls:
    """What was asked, by verb and resource. Watches count once, when they begin."""

    def __init__(self) -> None:
        self._count: Counter[tuple[str, str]] = Counter()
        self.told: Counter[tuple[str, str]] = Counter()
        """Events of watches, by type and resource."""
        self.recent: deque[Call] = deque(maxlen=KEPT_CALLS)

    def note(self, request: Request) -> None:
        resource = errors.qualified(request.plural, request.group)
        if request.part:
            resource += f"/{request.part}"
        self._count[request.verb, resource] += 1
        agent = request.headers.get("user-agent", "")
        self.recent.append(
            Call(request.verb, resource, request.namespace, request.name, request.user, agent)
        )

    def count(self, verb: str | None = None, resource: str | None = None) -> int:
        return sum(
            number
            for (v, r), number in self._count.items()
            if verb in (None, v) and resource in (None, r)
        )

    def table(self) -> dict[tuple[str, str], int]:
        return dict(self._count)

    def clear(self) -> None:
        self._count.clear()
        self.told.clear()
        self.recent.clear()


Change = Callable[[bytes], bytes]
"""What becomes of a body on its way."""


@dataclass
class Rule:
    """Calls that are met, so many times: by a refusal, or by an answer that is changed."""

    make: Callable[[Request], ApiError] | None
    verbs: frozenset[str]
    resource: str | None
    left: int
    when: Callable[[Request], bool] = lambda _: True
    change: Change = bytes
    met: int = 0

    def meets(self, request: Request) -> bool:
        found = (
            self.left > 0
            and (not self.verbs or request.verb in self.verbs)
            and self.resource in (None, errors.qualified(request.plural, request.group))
            and self.when(request)
        )
        if found:
            self.left -= 1
            self.met += 1
        return found


_WRITES = ("update", "patch")
_READS = ("list", "watch")
FOREVER = 1_000_000_000


@dataclass
class Faults:
    """Switches. Those that count fall back by themselves after so many `times`."""

    watch_delay_s: float = 0.0
    """Before each event of a watch."""
    answer_delay_s: float = 0.0
    """Before each answer."""
    skew_s: float = 0.0
    """The server's clock minus ours."""
    stalled: bool = False
    """Watches stay open and say nothing, not even bookmarks."""
    stale_at: int | None = None
    silent_upto: int = 0
    """Watches that began as one of so many stay open and say nothing any more, not even an end."""
    watches: int = 0
    """How many began."""
    _rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    watch_epoch: int = 0
    """Watches that began in an earlier epoch are cut."""
    cut_short: bool = False

    def refuse(
        self,
        make: Callable[[Request], ApiError],
        *,
        verbs: Iterable[str] = (),
        resource: str | None = None,
        times: int = 1,
        when: Callable[[Request], bool] = lambda _: True,
    ) -> Rule:
        """Meet the next calls with an error; the rule tells how many it met."""
        return self._add(Rule(make, frozenset(verbs), resource, times, when))

    def garble(
        self,
        change: Change,
        *,
        verbs: Iterable[str] = (),
        resource: str | None = None,
        times: int = 1,
    ) -> Rule:
        """Change the bodies of the next answers, and the events of watches. What becomes shorter
        is announced as long as it was: the connection ends within it."""
        return self._add(Rule(None, frozenset(verbs), resource, times, change=change))

    def _add(self, rule: Rule) -> Rule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def gone(
        self,
        *,
        resource: str | None = None,
        times: int = 1,
        when: Callable[[Request], bool] = lambda _: True,
    ) -> Rule:
        """410 for lists and watches."""
        return self.refuse(
            lambda _: errors.gone("The resourceVersion for the provided watch is too old."),
            verbs=_READS,
            resource=resource,
            times=times,
            when=when,
        )

    def conflict(self, *, resource: str | None = None, times: int = 1) -> Rule:
        """409 for updates and patches."""
        return self.refuse(
            lambda r: errors.conflict(r.plural, r.group, r.name, errors.STALE),
            verbs=_WRITES,
            resource=resource,
            times=times,
        )

    def throttle(
        self,
        *,
        retry_after_s: int = 1,
        verbs: Iterable[str] = (),
        resource: str | None = None,
        times: int = 1,
    ) -> Rule:
        """429 with Retry-After."""
        return self.refuse(
            lambda _: errors.too_many_requests(retry_after_s),
            verbs=verbs,
            resource=resource,
            times=times,
        )

    def fail(
        self, *, verbs: Iterable[str] = (), resource: str | None = None, times: int = 1
    ) -> Rule:
        """500."""
        return self.refuse(
            lambda _: errors.internal("etcdserver: request timed out"),
            verbs=verbs,
            resource=resource,
            times=times,
        )

    def drop_watches(self, *, cut_short: bool = False) -> None:
        """End all open watches; `cut_short` within an event, without the end of the stream."""
        self.cut_short = cut_short
        self.watch_epoch += 1

    def silence_watches(self) -> None:
        """All open watches say nothing any more, as when a machine between is gone; new ones do."""
        self.silent_upto = self.watches

    def clear(self) -> None:
        """Everything works again."""
        with self._lock:
            self._rules.clear()
        self.watch_delay_s = self.answer_delay_s = self.skew_s = 0.0
        self.stalled = False
        self.stale_at = None

    def meet(self, request: Request) -> None:
        """Raise what was ordered for this call."""
        with self._lock:
            for rule in self._rules:
                if rule.make is not None and rule.meets(request):
                    raise rule.make(request)

    def garbled(self, request: Request, body: bytes) -> bytes:
        """What becomes of the body of an answer, or of an event."""
        with self._lock:
            for rule in self._rules:
                if rule.make is None and rule.meets(request):
                    return rule.change(body)
        return body
