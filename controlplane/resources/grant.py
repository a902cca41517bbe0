"""`ReferenceGrant`: who may refer to objects of this namespace from another one."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controlplane.resources.kinds import Document, Fields, Name, Namespace


class GrantFrom(Fields):
    """Who may refer."""

    group: str = Field(max_length=253, description="Its API group, as `gateway.networking.k8s.io`.")
    kind: str = Field(min_length=1, max_length=63, description="Its kind, as `HTTPRoute`.")
    namespace: Namespace = Field(description="Where it stands.")


class GrantTo(Fields):
    """To what."""

    group: str = Field(max_length=253, description="The API group; empty for a Secret.")
    kind: str = Field(min_length=1, max_length=63, description="The kind, as `Backend`.")
    name: Name | None = Field(default=None, description="Not given: every object of the kind.")


class ReferenceGrantSpec(Fields):
    """What is granted."""

    from_: tuple[GrantFrom, ...] = Field(
        alias="from", min_length=1, max_length=16, description="Any of these may refer"
    )
    to: tuple[GrantTo, ...] = Field(
        min_length=1, max_length=16, description="to any of these, in the grant's own namespace."
    )


class ReferenceGrant(Document):
    """Lets objects of other namespaces refer to objects of this one."""

    about: ClassVar[str] = (
        "Stands in the namespace of what is referred to. Without one an object refers to its "
        "own namespace alone."
    )
    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["ReferenceGrant"]
    spec: ReferenceGrantSpec
