"""Networks of addresses."""

from __future__ import annotations

import ipaddress

from envoy_data_plane.envoy.config.core.v3 import CidrRange

from controlplane.translate.wire import number, wire


def cidr(text: str) -> bytes:
    """A CidrRange from text such as 10.0.0.0/8."""
    network = ipaddress.ip_network(text)
    return wire(
        CidrRange,
        address_prefix=str(network.network_address),
        prefix_len=number(network.prefixlen),
    )
