"""All that is declared, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from controlplane.resources.backend import Backend
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.gateway import Gateway
from controlplane.resources.kinds import Document
from controlplane.resources.route import HttpRoute

KINDS: Mapping[str, type[Document]] = MappingProxyType(
    {
        "Gateway": Gateway,
        "HTTPRoute": HttpRoute,
        "Backend": Backend,
        "BalancingPolicy": BalancingPolicy,
    }
)


class ObjectKey(NamedTuple):
    """What an object is called."""

    kind: str
    name: str
    """`namespace/name`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a valid object was last read from."""

    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Of the references in it, by field."""


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The objects in force, by `namespace/name`, each in the order of their names.

    An object that did not change from one `Declared` to the next is the same Python object in both,
    so later stages may compare with `is`.
    """

    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    routes: Mapping[str, HttpRoute] = field(default_factory=dict)
    backends: Mapping[str, Backend] = field(default_factory=dict)
    policies: Mapping[str, BalancingPolicy] = field(default_factory=dict)
    sources: Mapping[ObjectKey, Source] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Mapping[ObjectKey, tuple[Document, Source]]) -> Declared:
        """These objects."""
        gateways: dict[str, Gateway] = {}
        routes: dict[str, HttpRoute] = {}
        backends: dict[str, Backend] = {}
        policies: dict[str, BalancingPolicy] = {}
        for key, (one, _) in sorted(objects.items(), key=lambda item: item[0]):
            if isinstance(one, Gateway):
                gateways[key.name] = one
            elif isinstance(one, HttpRoute):
                routes[key.name] = one
            elif isinstance(one, Backend):
                backends[key.name] = one
            elif isinstance(one, BalancingPolicy):
                policies[key.name] = one
        sources = {key: source for key, (_, source) in objects.items()}
        return cls(gateways, routes, backends, policies, sources)

    def objects(self) -> dict[ObjectKey, Document]:
        """Every object by its key."""
        every: dict[ObjectKey, Document] = {}
        for kind, held in (
            ("Gateway", self.gateways),
            ("HTTPRoute", self.routes),
            ("Backend", self.backends),
            ("BalancingPolicy", self.policies),
        ):
            every.update({ObjectKey(kind, name): one for name, one in held.items()})
        return every
