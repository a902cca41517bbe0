"""What a client refused, and how what was refused with it still arrives (rules 4 and 11).

A NACK names a response, not the resource in it that is bad. Two things follow from it. The content
is known to be bad as a whole: nothing that holds all of it is ever sent again, and what is left of
it once the client took the rest is the bad one. And its names are under suspicion, in whatever
version, until the client takes them: they are sent apart from what is clean, in two companies, each
of which is divided again when it is refused. So whatever changes at each push, and however often,
what is good arrives, and what is bad ends up alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from controlplane.xds.versions import Resource

Suspects = frozenset[tuple[str, str]]
"""(name, version) of the resources of one refused response."""

MAX_OUTDATED = 64
MAX_OUTDATED_PAIRS = 4096
"""Of refused contents that nobody would be sent now, so many are remembered; the newest always."""

TRIES = 32
"""So often in a row a stream refuses suspects of one type before it is left in peace."""
TRIES_AFRESH = 2
"""And then for each change, and each look of the server, until it takes some. A client that refuses
all there is must not be made to do so resource by resource at every push."""


class Refusals(NamedTuple):
    """Of one stream and type. A value: what comes next depends on it."""

    contents: tuple[Suspects, ...] = ()
    """What was refused and not acquitted since, oldest first."""
    companies: tuple[frozenset[str], ...] = ()
    """Names under suspicion, each in one company, in the order in which they are tried."""

    def __bool__(self) -> bool:
        return bool(self.contents or self.companies)

    def at(self, by_name: Mapping[str, Resource], *, made_up: bool) -> Refusals:
        """What of it matters for these resources; with `made_up` there are others besides."""

        def there(name: str) -> bool:
            return name in by_name or made_up

        def current(name: str, version: str) -> bool:
            one = by_name.get(name)
            return one.version == version if one is not None else made_up or not name

        contents = (one for one in self.contents if all(current(*pair) for pair in one))
        return Refusals(tuple(contents), _nonempty(filter(there, one) for one in self.companies))


NONE = Refusals()


def refuse(refused: Refusals, suspects: Suspects, now: Mapping[str, str]) -> Refusals:
    """One more response was refused; `now` has the versions of what is wanted.

    >>> refuse(NONE, frozenset({("a", "1"), ("b", "1")}), {"a": "1", "b": "1"}).companies
    (frozenset({'a'}), frozenset({'b'}))
    """
    if not suspects:
        return refused
    names = sorted({name for name, _ in suspects} & now.keys())
    others = ((one - set(names)) & now.keys() for one in refused.companies)
    half = (len(names) + 1) // 2
    if len(names) > 1:  # the smaller companies first, so that a bad one is soon found
        companies = _nonempty((names[:half], names[half:], *others))
    else:
        companies = _nonempty((*others, names))
    contents = [one for one in refused.contents if not suspects <= one]
    return Refusals(_bounded([*contents, suspects], now), companies)


def _bounded(contents: list[Suspects], now: Mapping[str, str]) -> tuple[Suspects, ...]:
    outdated = [one for one in contents if not one <= now.items()]
    pairs = sum(map(len, outdated))
    forgotten = set()
    while len(outdated) > 1 and (len(outdated) > MAX_OUTDATED or pairs > MAX_OUTDATED_PAIRS):
        oldest = outdated.pop(0)
        pairs -= len(oldest)
        forgotten.add(oldest)
    return tuple(one for one in contents if one not in forgotten)


def acquit(refused: Refusals, taken: Sequence[Resource]) -> Refusals:
    """The client took these, so they were not what it refused.

    >>> taken = [Resource.claimed("b", "1")]
    >>> acquit(Refusals((frozenset({("a", "1"), ("b", "1")}),)), taken).contents
    (frozenset({('a', '1')}),)
    """
    good = {(one.name, one.version) for one in taken}
    names = {one.name for one in taken}
    contents = _nonempty(one - good for one in refused.contents)
    return Refusals(
        tuple(dict.fromkeys(contents)), _nonempty(one - names for one in refused.companies)
    )


def judge(refused: Refusals, wanted: Iterable[Resource]) -> tuple[frozenset[str], frozenset[str]]:
    """(names that must not be sent as they are, names to be sent apart) of what is wanted now."""
    now = {one.name: one.version for one in wanted}
    banned: set[str] = set()
    suspects: set[str] = set().union(*refused.companies)
    for content in refused.contents:
        if content <= now.items():
            names = {name for name, _ in content}
            (banned if len(names) == 1 else suspects).update(names)
    return frozenset(banned), frozenset(suspects)


def attempt(refused: Refusals, suspects: Sequence[Resource]) -> list[Resource]:
    """Which of these suspects to send next: those of a company, as many as may be taken.

    >>> both = [Resource.claimed("a", "1"), Resource.claimed("b", "1")]
    >>> [one.name for one in attempt(Refusals((frozenset({("a", "1"), ("b", "1")}),)), both)]
    ['a']
    """
    companies = [*refused.companies, *({name for name, _ in one} for one in refused.contents)]
    present = ([one for one in suspects if one.name in company] for company in companies)
    tried = next(filter(None, present), [])
    while len(tried) > 1 and _is_known(refused, tried):
        tried = tried[: (len(tried) + 1) // 2]
    return tried


def _is_known(refused: Refusals, tried: Iterable[Resource]) -> bool:
    """Whether these will be refused, for they were."""
    pairs = {(one.name, one.version) for one in tried}
    return any(content <= pairs for content in refused.contents)


_T = TypeVar("_T")


def _nonempty(sets: Iterable[Iterable[_T]]) -> tuple[frozenset[_T], ...]:
    return tuple(filter(None, map(frozenset, sets)))
