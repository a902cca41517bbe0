"""`EnvoyPatch`: a change of what Envoy is sent that no other kind has a word for. The words are
those of Envoy Gateway's EnvoyPatchPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from controlplane.resources.kinds import Document, Fields, Integer, Name, WeirApiVersion

EnvoyType = Literal[
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
]
Pointer = Annotated[str, StringConstraints(max_length=1024, pattern=r"^(/([^~/]|~0|~1)*)*$")]
"""A JSON pointer (RFC 6901)."""


class PatchTarget(Fields):
    """The Gateway whose Envoys are meant, in the namespace of the patch."""

    group: Literal["gateway.networking.k8s.io"] = Field(
        default="gateway.networking.k8s.io", description="That of the Gateway API."
    )
    kind: Literal["Gateway"] = Field(default="Gateway", description="Always.")
    name: Name = Field(description="Name of the Gateway.")


class Operation(Fields):
    """One operation of RFC 6902."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"] = Field(
        description="What is done."
    )
    path: Pointer = Field(description="Where, as `/filter_chains/0/name`; `-` is after the last.")
    from_: Pointer | None = Field(default=None, alias="from", description="Of `move` and `copy`.")
    value: JsonValue = Field(default=None, description="Of `add`, `replace` and `test`.")

    @model_validator(mode="after")
    def _fits(self) -> Operation:
        if (self.op in ("move", "copy")) != (self.from_ is not None):
            raise ValueError("from is given with move and copy, and with no other")
        if (self.op in ("add", "replace", "test")) != (self.value is not None):
            raise ValueError("value is given with add, replace and test, and with no other")
        return self


class Patched(Fields):
    """A resource that is sent."""

    type: EnvoyType = Field(description="Its type. Endpoints, secrets and runtime are Weir's own.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(
        description="Its name, as `weir translate` shows it."
    )


class JsonPatch(Patched):
    """An operation on a resource."""

    operation: Operation


class MergePatch(Patched):
    """Fields that are put into a resource (RFC 7396): mappings are merged, all else replaced."""

    value: dict[str, JsonValue] = Field(
        description="Fields by the names of the .proto files. Nothing is taken away by it; use "
        "`remove` of a JSON patch."
    )


class EnvoyPatchSpec(Fields):
    """What is changed."""

    target_ref: PatchTarget
    priority: Integer = Field(
        default=0, description="Patches are used in this order, then the older first."
    )
    json_patches: tuple[JsonPatch, ...] = Field(
        default=(), max_length=64, description="First these, in their order (RFC 6902)"
    )
    merge_patches: tuple[MergePatch, ...] = Field(
        default=(), max_length=64, description="then these."
    )

    @model_validator(mode="after")
    def _something(self) -> EnvoyPatchSpec:
        if not self.json_patches and not self.merge_patches:
            raise ValueError("want jsonPatches or mergePatches")
        return self


class EnvoyPatch(Document):
    """A change of what Envoy is sent."""

    about: ClassVar[str] = (
        "For what no other kind has a word for. Off unless `weir serve --envoy-patches`: it can "
        "break everything, see [tools.md](../tools.md#envoypatch). What comes out must parse as "
        "Envoy's message; a patch that does not fit is reported, and its last version that did "
        "is used."
    )
    api_version: WeirApiVersion
    kind: Literal["EnvoyPatch"]
    spec: EnvoyPatchSpec

    @property
    def gateway(self) -> str:
        """The `namespace/name` of the Gateway that is meant."""
        return f"{self.metadata.namespace}/{self.spec.target_ref.name}"
