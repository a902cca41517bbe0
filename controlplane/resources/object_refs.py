"""References of policies to Secrets and ConfigMaps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from controlplane.resources.gateway import SecretRef
from controlplane.resources.kinds import Fields, Name, Namespace


class PolicySecretRef(SecretRef):
    """A Secret that is meant."""

    namespace: Namespace | None = Field(
        default=None,
        description="Default: that of the policy. In another one a ReferenceGrant must allow it.",
    )


class ConfigMapRef(Fields):
    """A ConfigMap that is meant, in the namespace of the policy."""

    group: Literal[""] = Field(default="", description="Kubernetes' own.")
    kind: Literal["ConfigMap"] = Field(default="ConfigMap", description="Always.")
    name: Name = Field(description="Name of the ConfigMap.")
