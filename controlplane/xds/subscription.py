"""What a stream wants of one type, and how a request changes that. Pure values."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

WILDCARD = "*"


class Wants(NamedTuple):
    """Names, or everything, or both. A tuple: it is hashed for each response."""

    names: frozenset[str] = frozenset()
    wildcard: bool = False
    named: bool = False
    """Whether anything, `*` included, was ever named: from then on an empty list is none."""

    def covers(self, name: str) -> bool:
        """Whether a resource of this name is wanted."""
        return self.wildcard or name in self.names


def replaced(wants: Wants, listed: frozenset[str]) -> Wants:
    """State of the world: a request lists all that is wanted (rule 18).

    >>> replaced(Wants(), frozenset())
    Wants(names=frozenset(), wildcard=True, named=False)
    >>> replaced(Wants(named=True), frozenset())
    Wants(names=frozenset(), wildcard=False, named=True)
    """
    if not listed:
        return Wants(wildcard=not wants.named, named=wants.named)
    return Wants(listed - {WILDCARD}, WILDCARD in listed, named=True)


def amended(wants: Wants, subscribe: Set[str], unsubscribe: Set[str], *, first: bool) -> Wants:
    """Delta: a request says what is added and what is dropped.

    The first request of a type that names nothing is a wildcard (rule 28); names added later
    leave that wildcard in place (rule 29).
    """
    wildcard = wants.wildcard or (first and not subscribe and not unsubscribe)
    wildcard = (wildcard and WILDCARD not in unsubscribe) or WILDCARD in subscribe
    names = wants.names.union(subscribe).difference(unsubscribe - subscribe) - {WILDCARD}
    return Wants(names, wildcard, wants.named or bool(subscribe))
