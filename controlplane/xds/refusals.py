"""What a client refused, and what of it may be tried again (rules 4 and 11).

A NACK names a response, not the resource in it that is bad. So everything that was in the response
is under suspicion together. While all of it is still what should be sent, none of it is: the same
content never goes twice. Once one of the suspects has changed, the others are a different content
and go out again, after the news and in two halves, so that what is bad ends up alone. What the
client takes is acquitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.xds.versions import Resource

Suspects = frozenset[tuple[str, str]]
"""(name, version) of the resources of one refused response."""

MAX_REFUSED = 64  # refused responses remembered per stream and type; the oldest is forgotten


def refuse(refused: tuple[Suspects, ...], suspects: Suspects) -> tuple[Suspects, ...]:
    """One more response was refused."""
    if not suspects or suspects in refused:
        return refused
    return (*refused, suspects)[-MAX_REFUSED:]


def acquit(refused: tuple[Suspects, ...], taken: Iterable[Resource]) -> tuple[Suspects, ...]:
    """The client took these, so they were not what it refused.

    >>> taken = [Resource.claimed("b", "1")]
    >>> acquit((frozenset({("a", "1"), ("b", "1")}),), taken)
    (frozenset({('a', '1')}),)
    """
    good = {(one.name, one.version) for one in taken}
    left = (suspects - good for suspects in refused)
    return tuple(dict.fromkeys(suspects for suspects in left if suspects))


def judge(refused: Sequence[Suspects], wanted: Iterable[Resource]) -> tuple[Suspects, Suspects]:
    """(what must not be sent, what may be tried again) of what is wanted now."""
    current = {(one.name, one.version) for one in wanted}
    banned: set[tuple[str, str]] = set()
    suspicious: set[tuple[str, str]] = set()
    for suspects in refused:
        if suspects <= current:
            banned |= suspects
        else:
            suspicious |= suspects & current
    return frozenset(banned), frozenset(suspicious - banned)
