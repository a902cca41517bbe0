"""`Namespace`, whose labels say which routes a listener lets in, and selectors of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controlplane.resources.kinds import CoreApiVersion, Document, Fields

NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes gives it to every Namespace, with its name as the value."""


class LabelRequirement(Fields):
    """What a label must be."""

    key: str = Field(min_length=1, max_length=317, description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="`NotIn` holds also where there is no such label."
    )
    values: tuple[str, ...] = Field(default=(), max_length=64, description="With `In` and `NotIn`.")

    @model_validator(mode="after")
    def _fits(self) -> LabelRequirement:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError("In and NotIn need values, Exists and DoesNotExist take none")
        return self

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are so."""
        if self.operator == "In":
            return labels.get(self.key) in self.values
        if self.operator == "NotIn":
            return labels.get(self.key) not in self.values
        return (self.key in labels) == (self.operator == "Exists")


class LabelSelector(Fields):
    """Labels that must all be so; nothing said: everything is selected."""

    match_labels: dict[str, str] = Field(
        default_factory=dict, max_length=64, description="Labels with their values."
    )
    match_expressions: tuple[LabelRequirement, ...] = Field(
        default=(), max_length=64, description="More that must hold."
    )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels are meant."""
        return self.match_labels.items() <= labels.items() and all(
            one.holds(labels) for one in self.match_expressions
        )


class NamespaceSpec(BaseModel):
    """As Kubernetes writes it; nothing of it is looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Namespace(Document):
    """A namespace, for its labels."""

    about: ClassVar[str] = (
        "As Kubernetes has it. Declared for its labels, which `allowedRoutes.namespaces.selector` "
        "of a listener looks at; a namespace that is not declared has the label "
        "`kubernetes.io/metadata.name` alone, as every namespace has it. It stands in no "
        "namespace itself."
    )
    api_version: CoreApiVersion
    kind: Literal["Namespace"]
    spec: NamespaceSpec = NamespaceSpec()
