"""All that is declared, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from controlplane.resources.backend import Backend
from controlplane.resources.backend_tls import BackendTlsPolicy
from controlplane.resources.balancing import BalancingPolicy
from controlplane.resources.client_policy import ClientPolicy
from controlplane.resources.gateway import Gateway
from controlplane.resources.gateway_class import GatewayClass
from controlplane.resources.grant import ReferenceGrant
from controlplane.resources.kinds import Document, kind_of
from controlplane.resources.route import HttpRoute
from controlplane.resources.secret import ConfigMap, Secret
from controlplane.resources.security_policy import SecurityPolicy
from controlplane.resources.traffic_policy import TrafficPolicy

MODELS: tuple[type[Document], ...] = (
    GatewayClass,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    Backend,
    BalancingPolicy,
    TrafficPolicy,
    SecurityPolicy,
    ClientPolicy,
    BackendTlsPolicy,
    Secret,
    ConfigMap,
)
"""Every kind there is: a kind that is to be read is added here."""
KINDS: Mapping[str, type[Document]] = MappingProxyType({kind_of(one): one for one in MODELS})

D = TypeVar("D", bound=Document)


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
    """The objects in force, by kind and `namespace/name`, each in the order of their names.

    An object that did not change from one `Declared` to the next is the same Python object in both,
    so later stages may compare with `is`.
    """

    by_kind: Mapping[str, Mapping[str, Document]] = field(default_factory=dict)
    sources: Mapping[ObjectKey, Source] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Mapping[ObjectKey, tuple[Document, Source]]) -> Declared:
        """These objects."""
        by_kind: dict[str, dict[str, Document]] = {}
        for key, (one, _) in sorted(objects.items(), key=lambda item: item[0]):
            by_kind.setdefault(key.kind, {})[key.name] = one
        return cls(by_kind, {key: source for key, (_, source) in objects.items()})

    def all(self, model: type[D]) -> Mapping[str, D]:
        """The objects of one kind."""
        return cast("Mapping[str, D]", self.by_kind.get(kind_of(model), {}))

    @property
    def gateways(self) -> Mapping[str, Gateway]:
        """The Gateways, without those that another controller serves."""
        others = {one.metadata.name for one in self.all(GatewayClass).values() if not one.ours}
        found = self.all(Gateway)
        if not others:
            return found
        return {key: one for key, one in found.items() if one.spec.gateway_class_name not in others}

    @property
    def routes(self) -> Mapping[str, HttpRoute]:
        """The HTTPRoutes."""
        return self.all(HttpRoute)

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The Backends."""
        return self.all(Backend)

    @property
    def policies(self) -> Mapping[str, BalancingPolicy]:
        """The BalancingPolicies."""
        return self.all(BalancingPolicy)

    def objects(self) -> dict[ObjectKey, Document]:
        """Every object by its key."""
        return {
            ObjectKey(kind, name): one
            for kind, held in self.by_kind.items()
            for name, one in held.items()
        }
