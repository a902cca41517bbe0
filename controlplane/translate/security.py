"""What a `SecurityPolicy` says of requests, for the routes that it is for."""

from __future__ import annotations

from envoy_data_plane.envoy.config.route.v3 import Route

from controlplane.resources.security_policy import SecurityPolicy
from controlplane.translate.cors import policy_for


def of_route(policy: SecurityPolicy | None) -> bytes:
    """The part of a Route."""
    if policy is None or policy.spec.cors is None:
        return b""
    return policy_for(Route, policy.spec.cors)
