"""Virtual hosts on demand: Envoy names what it wants by a host, and a virtual host answers.

A virtual host is the resource `<route configuration>/<virtual host>`, and that is its own name too,
or Envoy cannot be told that it is gone. What is asked for is `<route configuration>/<host>`, the
Host of a request as it came, port and all. It is answered by the virtual host of that route
configuration whose domains match, in Envoy's order: the host itself, the longest `*.suffix`, the
longest `prefix.*`, then `*`. A host that none matches is answered with an empty resource, on which
Envoy answers 404.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from controlplane._pb.route_pb2 import VirtualHost
from controlplane.xds.versions import ResourceSet

_INDEX = "aliases"
_LONGEST = 512
"""Characters of a host that are looked at; a name of the DNS has at most 253."""

Domains = Mapping[str, Mapping[str, str]]
"""Route configuration -> domain -> name of the resource."""


def answering(target: ResourceSet, asked: str) -> str:
    """The name of the resource that answers to what was asked for; that itself if none does."""
    if asked in target.by_name:
        return asked
    table, _, host = asked.rpartition("/")
    domains = _domains(target).get(table)
    return (domains and _match(domains, host)) or asked


def _match(domains: Mapping[str, str], host: str) -> str:
    host = host.lower()[:_LONGEST]
    suffixes = (f"*{host[i:]}" for i in range(1, len(host)))
    prefixes = (f"{host[:i]}*" for i in range(len(host) - 1, 0, -1))
    for pattern in itertools.chain((host,), suffixes, prefixes, ("*",)):
        if pattern in domains:
            return domains[pattern]
    return ""


def _domains(target: ResourceSet) -> Domains:
    """Read once for each content of the set; lives as long as that does."""
    found: dict[str, dict[str, str]] | None = target.memo.get(_INDEX)
    if found is None:
        found = {}
        for name in sorted(target.by_name):
            table = found.setdefault(name.rpartition("/")[0], {})
            try:
                host = VirtualHost.FromString(target.by_name[name].body)
            except DecodeError:
                continue
            for domain in host.domains:
                table.setdefault(domain.lower(), name)
        target.memo[_INDEX] = found
    return found
