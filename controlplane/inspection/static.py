"""A fleet's snapshot as a static bootstrap, for `envoy --mode validate`, and parts of it.

What comes over xDS is written out in place: endpoints into their cluster, route tables and
configurations of filters into the listener that asks for them, the runtime layer as a static one.
Everything else stays as it is, so what Envoy says of it holds for the resource that it would be
sent.

A part is what can be taken out on its own, to find out which one Envoy does not take.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.inspection.canonical import Json, from_bytes
from controlplane.inspection.found import TYPE_URLS

_MANAGER = "http_connection_manager.v3.HttpConnectionManager"

Resources = Mapping[str, Mapping[str, bytes]]
"""By the short name of the type, then by name."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One thing that Envoy may not take."""

    type: str
    """Short name of the type."""
    name: str
    """Of the resource."""
    entry: str = ""
    """Of a route table: the name of one of its routes."""

    def __str__(self) -> str:
        return f"{self.type} {self.name}" + (f", route {self.entry}" if self.entry else "")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The resources of a fleet, decoded."""

    clusters: Mapping[str, Json]
    assignments: Mapping[str, Json]
    listeners: Mapping[str, Json]
    tables: Mapping[str, Json]
    layers: Mapping[str, Json]
    filters: Mapping[str, Json]
    """Configurations of filters."""

    @classmethod
    def of(cls, resources: Resources) -> Fleet:
        """From the bytes that Envoys would be sent. Raises `InspectionError`."""

        def read(kind: str) -> dict[str, Json]:
            bodies = resources.get(kind, {})
            return {name: from_bytes(TYPE_URLS[kind], body) for name, body in bodies.items()}

        return cls(read("cds"), read("eds"), read("lds"), read("rds"), read("rtds"), read("ecds"))

    def parts(self) -> list[Part]:
        """Everything that can be left out, what needs nothing else first.

        A fleet without clusters of its own (Envoys that bring theirs) is its assignments.
        """
        found = [Part("cds", name) for name in self.clusters]
        asked = self.clusters.items()
        named = [_assignment_name(name, body) for name, body in asked if _is_eds(body)]
        known = named if self.clusters else self.assignments
        found += [Part("eds", name) for name in dict.fromkeys(known) if name in self.assignments]
        found += [Part("lds", name) for name in self.listeners]
        for name, table in self.tables.items():
            found.append(Part("rds", name))
            found += [
                Part("rds", name, entry)
                for entry in dict.fromkeys(route.get("name", "") for _, route in _routes(table))
                if entry
            ]
        return found

    def bootstrap(self, base: Json, parts: Iterable[Part]) -> Json:
        """A bootstrap with these parts alone; `base` has what the fleet's Envoys are started with.

        A part of a table stands in it only when the table is there, and a table when a listener is.
        """
        wanted = frozenset(parts)
        made = copy.deepcopy(base)
        static = made.setdefault("static_resources", {})
        clusters = static.setdefault("clusters", [])
        clusters += self._clusters(wanted)
        static["listeners"] = [
            self._listener(body, wanted)
            for name, body in self.listeners.items()
            if Part("lds", name) in wanted
        ]
        made["layered_runtime"] = {
            "layers": [
                {"name": name, "static_layer": body.get("layer", {})}
                for name, body in self.layers.items()
            ]
        }
        return made

    def _clusters(self, wanted: frozenset[Part]) -> Iterator[Json]:
        for name, body in self.clusters.items():
            if Part("cds", name) in wanted:
                assignment = _assignment_name(name, body)
                yield (
                    _in_place(body, self._assignment(assignment, wanted)) if _is_eds(body) else body
                )
        if not self.clusters:
            for name in self.assignments:
                if Part("eds", name) in wanted:
                    yield _in_place({"name": name}, self._assignment(name, wanted))

    def _assignment(self, name: str, wanted: frozenset[Part]) -> Json:
        nothing: Json = {"cluster_name": name}
        return self.assignments.get(name, nothing) if Part("eds", name) in wanted else nothing

    def _listener(self, body: Json, wanted: frozenset[Part]) -> Json:
        made = copy.deepcopy(body)
        chains = [*made.get("filter_chains", ()), made.get("default_filter_chain", {})]
        for chain in chains:
            for one in chain.get("filters", ()):
                config = one.get("typed_config", {})
                self._write_filters(config.get("http_filters", ()))
                if str(config.get("@type", "")).endswith(_MANAGER) and "rds" in config:
                    name = config.pop("rds").get("route_config_name", "")
                    config["route_config"] = self._table(name, wanted)
        return made

    def _write_filters(self, http_filters: Sequence[Json]) -> None:
        for one in http_filters:
            found = self.filters.get(one.get("name", ""))
            if found is not None and one.pop("config_discovery", None) is not None:
                one["typed_config"] = found.get("typed_config", {})

    def _table(self, name: str, wanted: frozenset[Part]) -> Json:
        if Part("rds", name) not in wanted:
            return {"name": name, "validate_clusters": False}
        made = copy.deepcopy(self.tables[name])
        made["validate_clusters"] = False  # as it is where a table comes over RDS
        for host in made.get("virtual_hosts", ()):
            host["routes"] = [
                route
                for route in host.get("routes", ())
                if not route.get("name") or Part("rds", name, route["name"]) in wanted
            ]
        return made


def _routes(table: Json) -> Iterator[tuple[str, Json]]:
    for host in table.get("virtual_hosts", ()):
        for route in host.get("routes", ()):
            yield host.get("name", ""), route


def _is_eds(cluster: Json) -> bool:
    return cluster.get("type") == "EDS"


def _assignment_name(name: str, cluster: Json) -> str:
    return cluster.get("eds_cluster_config", {}).get("service_name") or name


def _in_place(cluster: Json, assignment: Json) -> Json:
    rest = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    return {
        "connect_timeout": "1s",
        **rest,
        "type": "STATIC",
        "load_assignment": {**assignment, "cluster_name": cluster["name"]},
    }


Verdict = Callable[[Sequence[Part]], str]
"""What Envoy says to these parts; empty when it takes them."""


def refused_parts(parts: Sequence[Part], verdict: Verdict) -> Iterator[tuple[Part, str]]:
    """Each part that Envoy does not take, and what it says, by halving.

    A part is tried with everything that was taken so far, so that it has what it needs; one that is
    refused is left out from then on. That takes about two runs a doubling for each refusal, and one
    where there is nothing to find.
    """
    taken: list[Part] = []
    waiting = [list(parts)] if parts else []
    while waiting:
        some = waiting.pop()
        said = verdict([*taken, *some])
        if not said:
            taken += some
        elif len(some) == 1:
            yield some[0], said
        else:
            half = len(some) // 2
            waiting += [some[half:], some[:half]]
