"""`targetRefs`: what a policy is for. Every kind of policy has them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from controlplane.resources.kinds import GATEWAY_API_GROUP, WEIR_GROUP, Document, Fields, Name

_GROUPS = {"Backend": WEIR_GROUP, "Service": ""}
"""Of the kinds that are not the Gateway API's own."""


LeadsToBackends = Literal[
    "Backend",
    "Service",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "Gateway",
]
"""Kinds that stand for Backends: what they are, or what they lead to."""


class Target(NamedTuple):
    """An object, or a part of it, that a policy is for."""

    kind: str
    key: str
    """`namespace/name`."""
    section: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.key}" + (f" {self.section}" if self.section else "")


class TargetRef(Fields):
    """What a policy is for, in the namespace of the policy."""

    group: Literal["weir.dev", "gateway.networking.k8s.io", ""] = Field(
        description="`weir.dev` for a Backend, empty for a Service, "
        "`gateway.networking.k8s.io` for the others."
    )
    kind: str = Field(description="The nearest policy counts, as a whole.")
    name: Name = Field(description="Name of the object, in the namespace of the policy.")

    @model_validator(mode="after")
    def _group_of_kind(self) -> TargetRef:
        want = _GROUPS.get(self.kind, GATEWAY_API_GROUP)
        if self.group != want:
            raise ValueError(f"the group of kind {self.kind} is {want or repr(want)}")
        return self

    @property
    def section(self) -> str | None:
        """The part of the object that is meant: a listener of a Gateway, a rule of a route."""
        return None

    @property
    def other_namespace(self) -> str | None:
        """Where the target is said to be, which must be the policy's own namespace."""
        return None


class SectionTargetRef(TargetRef):
    """What a policy is for, in the namespace of the policy."""

    section_name: Name | None = Field(
        default=None,
        description="Of a Gateway one listener, of a route one rule, of a Service one port, by "
        "name; not given: all.",
    )

    @property
    def section(self) -> str | None:
        """The part of the object that is meant."""
        return self.section_name


class GatewayTargetRef(SectionTargetRef):
    """A Gateway, or one of its listeners."""

    kind: Literal["Gateway"] = Field(description="The policy of a listener goes before.")


class RouteTargetRef(SectionTargetRef):
    """A Gateway or a route, or a part of it."""

    kind: Literal["HTTPRoute", "GRPCRoute", "Gateway"] = Field(
        description="The nearest policy counts, as a whole: that of a rule before that of its "
        "route, that of a listener, that of the Gateway."
    )


class BackendTargetRef(SectionTargetRef):
    """A Backend, a route or a Gateway."""

    kind: LeadsToBackends = Field(
        description="The nearest policy counts, as a whole. For requests: that of a rule, its "
        "route, a listener, its Gateway. For the connections to a Backend, that of the Backend "
        "or of the Service goes before all of these."
    )


class PolicySpec(Fields):
    """What a policy is for, and what it says."""

    target_refs: tuple[TargetRef, ...]


class Policy(Document):
    """Something said of other objects. Of two for one target the older is in force, then the first
    by name."""

    spec: PolicySpec
