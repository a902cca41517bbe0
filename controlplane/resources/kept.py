"""What was declared when it was last known, for a start while nobody can be asked. Pure.

Documents are kept as they were listed, and of those that were refused the last valid version too:
loaded one after the other they mean what they meant. Secrets may be left out. What is for the
Envoys of a Gateway that needs one of those cannot be made, so these Envoys are left as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.envoy_patch import PatchTarget
from controlplane.resources.load import Loaded, load
from controlplane.resources.mentions import mentions
from controlplane.resources.problems import Problem
from controlplane.resources.route import ParentRef
from controlplane.resources.target import TargetRef

_UPWARDS = (ParentRef, TargetRef, PatchTarget)
"""References to what the document belongs to, and not to what it needs."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One complete state."""

    source: str
    """Whose it is: another one's is of no use."""
    documents: Mapping[str, bytes]
    """As they were listed, by what problems call them."""
    earlier: Mapping[str, bytes] = field(default_factory=dict)
    """Of those that are refused, the version that is in force."""
    withheld: frozenset[str] = frozenset()
    """Secrets that are left out, by what problems call them: `Secret/namespace/name`."""

    def without_secrets(self) -> Kept:
        """The same, with nothing in it that nobody is shown."""
        names = {name for name in (*self.documents, *self.earlier) if name.startswith("Secret/")}
        return Kept(
            self.source,
            {name: one for name, one in self.documents.items() if name not in names},
            {name: one for name, one in self.earlier.items() if name not in names},
            self.withheld | names,
        )


def restored(kept: Kept, policies: Collection[str] | None = None) -> Loaded:
    """What is in force by it. Problems are those of the documents alone: what leads to a Secret
    that was left out leads nowhere now, and that says nothing about what people wrote."""
    loaded = Loaded()
    if kept.earlier:
        loaded = load(loaded, {**kept.documents, **kept.earlier}, policies)
    loaded = load(loaded, kept.documents, policies)
    parts = (name.partition("/") for name in kept.withheld)
    missing = (ObjectKey(kind, name) for kind, _, name in parts)
    declared = replace(loaded.declared, left_alone=needing(loaded.declared, missing))
    return replace(loaded, declared=declared, problems=loaded.refusals)


def stale(loaded: Loaded, why: str) -> Loaded:
    """The same, with a line for whoever asks what is wrong."""
    left = sorted(loaded.declared.left_alone)
    message = f"{why}: what was declared when it was last known is in force"
    if left:
        message += (
            f"; Envoys of {', '.join(left)} are left as they are: Secrets that they need are not "
            "known"
        )
    problem = Problem("Kubernetes", 0, "", message, "see docs/kubernetes.md")
    return replace(loaded, problems=(problem, *loaded.problems), stale=message)


def needing(declared: Declared, objects: Iterable[ObjectKey]) -> frozenset[str]:
    """The Gateways whose Envoys may be told something of these objects, which need not be there.

    More rather than fewer: whatever belongs to a Gateway (routes, policies, patches), whatever
    these refer to, and what in turn belongs to that; whether a reference is allowed or in force is
    not asked.
    """
    needed_by: dict[ObjectKey, set[ObjectKey]] = defaultdict(set)
    for key, document in declared.objects().items():
        for reference, meant in mentions(document):
            if isinstance(reference, _UPWARDS):
                needed_by[key].add(meant)
            else:
                needed_by[meant].add(key)
    found, coming = set[ObjectKey](), list(objects)
    while coming:
        key = coming.pop()
        if key not in found:
            found.add(key)
            coming += needed_by.get(key, ())
    return frozenset(key.name for key in found if key.kind == "Gateway")
