"""What a client refused, and what of it may be tried again (rules 4 and 11).

A NACK names a response, not the resource in it that is bad. So everything that was in the response
is under suspicion together. While all of it is still what should be sent, none of it is: the same
content never goes twice. Once one of the suspects has changed, they are a different content and go
out again, the changed one among them, after what is clean and in two halves, so that what is bad
ends up alone. What the client takes is acquitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from controlplane.xds.versions import Resource

Suspects = frozenset[tuple[str, str]]
"""(name, version) of the resources of one refused response."""

MAX_REFUSED = 64  # refused responses remembered per stream and type; then the oldest are joined
_OTHER = ""  # stands for a version that was refused in company, of a name that was taken since


def refuse(refused: tuple[Suspects, ...], suspects: Suspects) -> tuple[Suspects, ...]:
    """One more response was refused. What is remembered of older versions of these very names is
    forgotten.

    >>> refuse((frozenset({("a", "1")}),), frozenset({("a", "2")}))
    (frozenset({('a', '2')}),)
    """
    if not suspects or suspects in refused:
        return refused
    names, current = _names(suspects), dict(suspects)
    left = [
        one
        for one in refused
        if not _names(one) <= names or any(current[name] == version for name, version in one)
    ]
    while len(left) >= MAX_REFUSED:
        left[:2] = [left[0] | left[1]]
    return (*left, suspects)


def acquit(refused: tuple[Suspects, ...], taken: Iterable[Resource]) -> tuple[Suspects, ...]:
    """The client took these, so they were not what it refused.

    Of a name that it took in another version we cannot know whether that was refused for it; it is
    no suspect any more, and what was refused with it may be tried again.

    >>> taken = [Resource.claimed("b", "1")]
    >>> acquit((frozenset({("a", "1"), ("b", "1")}),), taken)
    (frozenset({('a', '1')}),)
    """
    good = {one.name: one.version for one in taken}
    left = (frozenset(_cleared(suspects, good)) for suspects in refused)
    return tuple(dict.fromkeys(one for one in left if any(version for _, version in one)))


def _cleared(suspects: Suspects, good: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, version in suspects:
        if name not in good or (len(suspects) == 1 and good[name] != version):
            yield name, version  # what was refused alone is known to be bad
        elif good[name] != version:
            yield name, _OTHER


def judge(refused: Sequence[Suspects], wanted: Iterable[Resource]) -> tuple[Suspects, Suspects]:
    """(what must not be sent, what may be tried again) of what is wanted now.

    A suspect that changed is a suspect still: what was bad in one version often is in the next, and
    it must not take along what is clean.
    """
    now = {one.name: one.version for one in wanted}
    current = now.items()
    banned: set[tuple[str, str]] = set()
    suspicious: set[tuple[str, str]] = set()
    for suspects in refused:
        if suspects <= current:
            banned |= suspects
        else:
            suspicious |= {(name, now[name]) for name, v in suspects if v and name in now}
    return frozenset(banned), frozenset(suspicious - banned)


def attempt(refused: Sequence[Suspects], later: Sequence[Resource]) -> list[Resource]:
    """What to try first of what may be tried again: of the smallest company that was refused those
    that changed, where they are a half or less, else a half. So over a few changes what is bad ends
    up alone, whatever changes with it.

    >>> a, b, c = (Resource.claimed(name, "2") for name in "abc")
    >>> every = frozenset({("a", "1"), ("b", "1"), ("c", "1")})
    >>> [one.name for one in attempt((every, frozenset({("b", "1"), ("c", "1")})), (a, b, c))]
    ['b']
    """
    best, of, smallest = list(later), Suspects(), len(later) + 1
    for suspects in refused:
        names = {name for name, version in suspects if version}
        company = [one for one in later if one.name in names] if len(names) < smallest else []
        if company:
            best, of, smallest = company, suspects, len(names)
    half = (len(best) + 1) // 2
    changed = [one for one in best if (one.name, one.version) not in of]
    return changed if 0 < len(changed) <= half else best[:half]


def _names(suspects: Suspects) -> frozenset[str]:
    return frozenset(name for name, _ in suspects)
