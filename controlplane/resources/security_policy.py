"""`SecurityPolicy`: who may send which requests. The words are those of Envoy Gateway's
SecurityPolicy."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controlplane.resources.cors import Cors
from controlplane.resources.kinds import WeirApiVersion
from controlplane.resources.target import Policy, PolicySpec, RouteTargetRef


class SecurityPolicySpec(PolicySpec):
    """What it is for, and who may what."""

    target_refs: tuple[RouteTargetRef, ...] = Field(
        min_length=1, max_length=16, description="What the policy is for."
    )
    cors: Cors | None = Field(
        default=None,
        description="Which pages of other origins may call; a CORS filter of a route goes before.",
    )


class SecurityPolicy(Policy):
    """Who may send which requests."""

    about: ClassVar[str] = (
        "Of several policies the nearest counts, as a whole. Of two for one target the older "
        "is in force, then the first by name; the other is reported."
    )
    api_version: WeirApiVersion
    kind: Literal["SecurityPolicy"]
    spec: SecurityPolicySpec
