"""How an Envoy chooses one of the endpoints of a Backend.

Every choice is made within the weights: with group weights each locality has its part of the
requests, and within it each endpoint its own. With consistent hashing they are parts of the table,
so a key stays where it is as long as the weights and the endpoints do.
"""

from __future__ import annotations

import functools

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    LoadBalancingPolicy,
    LoadBalancingPolicyPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import RuntimeDouble
from envoy_data_plane.envoy.config.route.v3 import (
    RouteActionHashPolicy,
    RouteActionHashPolicyConnectionProperties,
    RouteActionHashPolicyCookie,
    RouteActionHashPolicyHeader,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.common.v3 import (
    ConsistentHashingLbConfig,
    LocalityLbConfig,
    LocalityLbConfigLocalityWeightedLbConfig,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request.v3 import (
    LeastRequest,
    LeastRequestSelectionMethod,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.maglev.v3 import Maglev
from envoy_data_plane.envoy.extensions.load_balancing_policies.ring_hash.v3 import RingHash

from controlplane.resources.load_balancer import ConsistentHash, LoadBalancer
from controlplane.translate.types import extension
from controlplane.translate.wire import duration, number, packed, wire


@functools.lru_cache(maxsize=1024)
def balancer(said: LoadBalancer | None, *, of_udp: bool = False) -> bytes:
    """The part of a Cluster. `of_udp`: datagrams have nothing to hash but the client's address,
    which their listener does."""
    if said is None or said.consistent_hash is None:
        return _policy("least_request", LeastRequest, _least_request())
    if said.consistent_hash.algorithm == "RingHash":
        return _policy("ring_hash", RingHash, _ring(said.consistent_hash, of_udp))
    return _policy("maglev", Maglev, _maglev(said.consistent_hash, of_udp))


def _policy(name: str, kind: type[Message], config: bytes) -> bytes:
    named = extension(f"envoy.load_balancing_policies.{name}", packed(kind, config))
    policy = wire(LoadBalancingPolicyPolicy, typed_extension_config=named)
    return wire(Cluster, load_balancing_policy=wire(LoadBalancingPolicy, policies=[policy]))


def _least_request() -> bytes:
    weighted = wire(
        LocalityLbConfig,
        locality_weighted_lb_config=wire(LocalityLbConfigLocalityWeightedLbConfig),
    )
    bias = wire(RuntimeDouble, default_value=1.0, runtime_key="weir.active_request_bias")
    return wire(
        LeastRequest,
        selection_method=LeastRequestSelectionMethod.FULL_SCAN,
        active_request_bias=bias,
        locality_lb_config=weighted,
    )


def _maglev(one: ConsistentHash, of_udp: bool) -> bytes:
    made = wire(
        Maglev,
        consistent_hashing_lb_config=b"" if of_udp else _by(one),
        locality_weighted_lb_config=wire(LocalityLbConfigLocalityWeightedLbConfig),
    )
    return made + (wire(Maglev, table_size=number(one.table_size)) if one.table_size else b"")


def _ring(one: ConsistentHash, of_udp: bool) -> bytes:
    made = wire(
        RingHash,
        consistent_hashing_lb_config=b"" if of_udp else _by(one),
        locality_weighted_lb_config=wire(LocalityLbConfigLocalityWeightedLbConfig),
    )
    if one.table_size:
        made += wire(RingHash, minimum_ring_size=number(one.table_size))
    return made


def _by(one: ConsistentHash) -> bytes:
    """What decides, said of the cluster: whichever route leads there, equal ones meet."""
    return wire(ConsistentHashingLbConfig, hash_policy=[_hashed(one)])


def _hashed(one: ConsistentHash) -> bytes:
    if one.header is not None:
        header = wire(RouteActionHashPolicyHeader, header_name=one.header.name.lower())
        return wire(RouteActionHashPolicy, header=header)
    if one.cookie is not None:
        cookie = wire(RouteActionHashPolicyCookie, name=one.cookie.name, path="/")
        if one.cookie.ttl is not None:
            cookie += wire(RouteActionHashPolicyCookie, ttl=duration(one.cookie.ttl))
        return wire(RouteActionHashPolicy, cookie=cookie)
    source = wire(RouteActionHashPolicyConnectionProperties, source_ip=True)
    return wire(RouteActionHashPolicy, connection_properties=source)
