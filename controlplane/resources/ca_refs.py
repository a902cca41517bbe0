"""References to the certificates of a CA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.resources.kinds import Fields, Name, Namespace


class LocalCaRef(Fields):
    """The certificates of a CA, under `ca.crt`."""

    group: Literal[""] = Field(default="", description="Kubernetes' own.")
    kind: Literal["ConfigMap", "Secret"] = Field(description="What holds them, in PEM.")
    name: Name = Field(description="Its name.")

    @property
    def other_namespace(self) -> str | None:
        """Where it is, where that is said."""
        return None


class CaRef(LocalCaRef):
    """The certificates of a CA, under `ca.crt`."""

    kind: Literal["ConfigMap", "Secret"] = Field(
        default="Secret", description="What holds them, in PEM."
    )
    namespace: Namespace | None = Field(
        default=None,
        description="Default: that of the policy. In another one a ReferenceGrant must allow it.",
    )

    @property
    def other_namespace(self) -> str | None:
        """Where it is, where that is said."""
        return self.namespace
