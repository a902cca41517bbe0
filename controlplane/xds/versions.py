"""Content-derived versions: equal content has an equal version, on every replica (rule 5).

A resource's version is a hash of its name and bytes. The version of a set is the sum of such
hashes, so it does not depend on order and costs only what changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b

from controlplane.xds.memo import Memo

_MODULUS = 1 << 128
_UNSURE = "?"
"""No hash looks like this."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One named resource. Two moments that share the object share the content."""

    name: str
    body: bytes
    version: str
    part: int
    """What it adds to the version of a set that holds it."""

    @classmethod
    def of(cls, name: str, body: bytes) -> Resource:
        """Hash the content."""
        key = name.encode()
        digest = blake2b(b"%d:%b%b" % (len(key), key, body), digest_size=16).digest()
        return cls(name, body, digest[:8].hex(), int.from_bytes(digest, "big"))

    @classmethod
    def claimed(cls, name: str, version: str) -> Resource:
        """What a client says that it has (rule 28); we know no more of it than the version."""
        return cls(name, b"", version, 0)

    def unsure(self) -> Resource:
        """The client refused this, and may run it, what it had before, or nothing."""
        return Resource.claimed(self.name, _UNSURE)

    @property
    def is_claimed(self) -> bool:
        """Whether its content is not known to us."""
        return self.part == 0 and not self.body

    @property
    def is_unsure(self) -> bool:
        """Whether we cannot know what the client has of it."""
        return self.version == _UNSURE


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ResourceSet:
    """All resources of one type at one moment. Compared by identity: unchanged is the same."""

    type_url: str
    generation: int
    """Differs from that of every other set of this process, also of equal content."""
    total: int
    by_name: Mapping[str, Resource]
    version: str
    memo: Memo = field(default_factory=Memo, repr=False)
    """Answers worked out for this set. They live no longer than it is shown (see `steps`)."""

    @classmethod
    def empty(cls, type_url: str, generation: int) -> ResourceSet:
        """The set without resources."""
        seed = blake2b(type_url.encode(), digest_size=16).digest()
        total = int.from_bytes(seed, "big")
        return cls(type_url, generation, total, {}, version_of(total))

    def replaced(self, bodies: Mapping[str, bytes], generation: int) -> ResourceSet:
        """The set with exactly these resources; this very object when nothing changed.

        A bytes object that is the same, or equal, costs no hash.
        """
        old = self.by_name
        total = self.total
        new: dict[str, Resource] = {}
        for name, body in bodies.items():
            before = old.get(name)
            if before is not None and (before.body is body or before.body == body):
                new[name] = before
                continue
            resource = new[name] = Resource.of(name, body)
            total += resource.part - (before.part if before is not None else 0)
        if len(new) != len(old) or new.keys() != old.keys():
            total -= sum(old[name].part for name in old.keys() - new.keys())
        elif total == self.total:
            return self
        total %= _MODULUS
        return ResourceSet(self.type_url, generation, total, new, version_of(total))

    def varied(
        self, bodies: Mapping[str, bytes], before: ResourceSet | None, generation: int
    ) -> ResourceSet:
        """This set with other content for these names; all else is shared with it.

        `before` is the variant that was shown last, and what is returned when nothing changed.
        """
        new, total = dict(self.by_name), self.total
        for name, body in bodies.items():
            known = before.by_name.get(name) if before is not None else None
            common = self.by_name.get(name)
            if known is None or known is common or known.body != body:
                known = Resource.of(name, body)
            new[name] = known
            total += known.part - (common.part if common is not None else 0)
        total %= _MODULUS
        if before is not None and before.total == total:
            return before
        return ResourceSet(self.type_url, generation, total, new, version_of(total))


def version_of(total: int) -> str:
    """The version of a set whose parts sum to `total`."""
    return f"{total % _MODULUS >> 64:016x}"


@lru_cache(maxsize=64)
def nothing_of(type_url: str) -> ResourceSet:
    """The one set that stands for a type that no snapshot has.

    It is never replaced, and its answers hold what clients ask for and nothing else: none is kept.
    """
    return replace(ResourceSet.empty(type_url, 0), memo=Memo(most=0))
