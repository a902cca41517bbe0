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
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError

from controlplane._pb.route_pb2 import VirtualHost
from controlplane.xds.versions import ResourceSet


class Domains:
    """Of one route configuration: domain -> name of the resource.

    Who asks may ask for as many hosts as he likes, so that no more is looked up for each than
    there are lengths of domains.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._suffixes: list[int] = []
        self._prefixes: list[int] = []

    def add(self, domain: str, name: str) -> None:
        """The first of several resources with the same domain has it."""
        domain = domain.lower()
        self._names.setdefault(domain, name)
        lengths = self._suffixes if domain.startswith("*") else self._prefixes
        if len(domain) > 1 and "*" in (domain[0], domain[-1]) and len(domain) - 1 not in lengths:
            lengths.append(len(domain) - 1)
            lengths.sort(reverse=True)

    def match(self, host: str) -> str:
        """The name of the resource that answers to a host; empty if none does."""
        host = host.lower()
        suffixes = (f"*{host[-n:]}" for n in self._suffixes if n < len(host))
        prefixes = (f"{host[:n]}*" for n in self._prefixes if n < len(host))
        for pattern in itertools.chain((host,), suffixes, prefixes, ("*",)):
            if pattern in self._names:
                return self._names[pattern]
        return ""


_READ: WeakKeyDictionary[ResourceSet, Mapping[str, Domains]] = WeakKeyDictionary()


def answering(target: ResourceSet, asked: str) -> str:
    """The name of the resource that answers to what was asked for; that itself if none does."""
    if asked in target.by_name:
        return asked
    table, _, host = asked.rpartition("/")
    domains = _domains(target).get(table)
    return asked if domains is None else domains.match(host) or asked


def _domains(target: ResourceSet) -> Mapping[str, Domains]:
    """By route configuration. Read once for each content of the set; lives as long as that does."""
    known = _READ.get(target)
    if known is not None:
        return known
    found: dict[str, Domains] = {}
    for name in sorted(target.by_name):
        table = found.setdefault(name.rpartition("/")[0], Domains())
        try:
            host = VirtualHost.FromString(target.by_name[name].body)
        except DecodeError:
            continue
        for domain in host.domains:
            table.add(domain, name)
    _READ[target] = found
    return found
