"""Backends that stand in for others: an aggregate cluster for each chain of them.

Why not priorities of one assignment: a Backend has weights, limits and health checks of its own,
and goes on being balanced and observed as itself, whichever rule names it as whose fallback.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCustomClusterType,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy, RetryPolicyRetryPriority
from envoy_data_plane.envoy.extensions.clusters.aggregate.v3 import ClusterConfig
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import (
    PreviousPrioritiesConfig,
)

from controlplane.model import THEN
from controlplane.translate.wire import duration, packed, wire


def chain(members: Sequence[str]) -> str:
    """The cluster that is these, one after another."""
    return THEN.join(members)


def aggregate(members: Sequence[str], name: str = "") -> bytes:
    """Requests go to the first that is healthy; as its health goes, more and more to the next. The
    cluster is named as the chain is, unless it has a `name`."""
    config = packed(ClusterConfig, wire(ClusterConfig, clusters=members))
    kind = wire(ClusterCustomClusterType, name="envoy.clusters.aggregate", typed_config=config)
    return wire(
        Cluster,
        name=name or chain(members),
        cluster_type=kind,
        connect_timeout=duration(1),
        lb_policy=ClusterLbPolicy.CLUSTER_PROVIDED,
    )


@functools.cache
def at_the_next() -> bytes:
    """The part of a RetryPolicy that tries again where a request has not been: a request that meets
    an endpoint which is gone need not wait until that is known of all."""
    config = packed(PreviousPrioritiesConfig, wire(PreviousPrioritiesConfig, update_frequency=1))
    name = "envoy.retry_priorities.previous_priorities"
    priority = wire(RetryPolicyRetryPriority, name=name, typed_config=config)
    return wire(RetryPolicy, retry_priority=priority)
