"""Reads `/config_dump?include_eds` and `/runtime` of Envoy's admin interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.errors import InspectionError
from controlplane.inspection.canonical import Json, from_json
from controlplane.inspection.found import TYPE_URLS, Found, Place, Running
from controlplane.inspection.normal import flat_runtime

_DUMP = "type.googleapis.com/envoy.admin.v3."


def read_dump(dump: Mapping[str, Any], runtime: Mapping[str, Any] | None = None) -> Running:
    """The decoded pages to what runs. Raises `InspectionError` where this is no config dump."""
    try:
        sections = {str(one["@type"]).removeprefix(_DUMP): one for one in dump["configs"]}
        bootstrap = sections["BootstrapConfigDump"]["bootstrap"]
        node = bootstrap.get("node", {})
    except (KeyError, TypeError, AttributeError) as error:
        raise InspectionError(
            f"this is not a config dump of Envoy ({error!r} is missing); "
            "is this the address of its admin interface?"
        ) from error
    clusters = sections.get("ClustersConfigDump", {})
    types = {
        "cds": tuple(_clusters(clusters)),
        "eds": tuple(_endpoints(sections.get("EndpointsConfigDump", {}), _eds_names(clusters))),
        "lds": tuple(_listeners(sections.get("ListenersConfigDump", {}))),
        "rds": tuple(_routes(sections.get("RoutesConfigDump", {}))),
        "vhds": tuple(_virtual_hosts(sections.get("RoutesConfigDump", {}))),
        "srds": tuple(_scopes(sections.get("ScopedRoutesConfigDump", {}))),
        "ecds": tuple(_filters(sections.get("EcdsConfigDump", {}))),
        "sds": tuple(_secrets(sections.get("SecretsConfigDump", {}))),
        "rtds": tuple(_runtime(bootstrap, runtime or {})),
    }
    return Running(node.get("id", ""), node.get("cluster", ""), bootstrap, types)


def _read(kind: str, name: str, raw: Mapping[str, Any], **facts: Any) -> Found:  # noqa: ANN401
    try:
        return Found(name, from_json(TYPE_URLS[kind], raw), **facts)
    except InspectionError as error:
        return Found(name, None, why=str(error), **facts)


def _clusters(section: Mapping[str, Any]) -> Iterator[Found]:
    for key, place in (
        ("static_clusters", Place.STATIC),
        ("dynamic_active_clusters", Place.ACTIVE),
        ("dynamic_warming_clusters", Place.WARMING),
    ):
        for one in section.get(key, ()):
            raw = one.get("cluster", {})
            version = one.get("version_info", "")
            yield _read("cds", raw.get("name", ""), raw, version=version, place=place)


def _eds_names(section: Mapping[str, Any]) -> frozenset[str]:
    """The names of the assignments that clusters take from EDS."""
    names = set()
    for key in ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"):
        for one in section.get(key, ()):
            raw = one.get("cluster", {})
            if raw.get("type") == "EDS":
                names.add(raw.get("eds_cluster_config", {}).get("service_name") or raw["name"])
    return frozenset(names)


def _endpoints(section: Mapping[str, Any], eds: frozenset[str]) -> Iterator[Found]:
    for key in ("static_endpoint_configs", "dynamic_endpoint_configs"):
        for one in section.get(key, ()):
            raw = one.get("endpoint_config", {})
            name = raw.get("cluster_name", "")
            place = Place.ACTIVE if name in eds else Place.STATIC
            yield _read("eds", name, raw, version=one.get("version_info", ""), place=place)


def _listeners(section: Mapping[str, Any]) -> Iterator[Found]:
    for one in section.get("static_listeners", ()):
        raw = one.get("listener", {})
        yield _read("lds", raw.get("name", ""), raw, place=Place.STATIC)
    for one in section.get("dynamic_listeners", ()):
        refused = one.get("error_state", {}).get("details", "")
        for key, place in (
            ("active_state", Place.ACTIVE),
            ("warming_state", Place.WARMING),
            ("draining_state", Place.DRAINING),
        ):
            if key in one:
                raw, version = one[key].get("listener", {}), one[key].get("version_info", "")
                facts = {"version": version, "place": place, "refused": refused}
                yield _read("lds", one.get("name") or raw.get("name", ""), raw, **facts)


def _routes(section: Mapping[str, Any]) -> Iterator[Found]:
    for key, place in (
        ("static_route_configs", Place.STATIC),
        ("dynamic_route_configs", Place.ACTIVE),
    ):
        for one in section.get(key, ()):
            raw = one.get("route_config", {})
            own = [host for host in raw.get("virtual_hosts", ()) if not _on_demand(raw, host)]
            if own != raw.get("virtual_hosts", own):
                raw = {**raw, "virtual_hosts": own}
            version = one.get("version_info", "")
            yield _read("rds", raw.get("name", ""), raw, version=version, place=place)


def _virtual_hosts(section: Mapping[str, Any]) -> Iterator[Found]:
    """Envoy shows those that came on demand in the table that they belong to."""
    for one in section.get("dynamic_route_configs", ()):
        raw = one.get("route_config", {})
        for host in raw.get("virtual_hosts", ()):
            if _on_demand(raw, host):
                yield _read("vhds", host.get("name", ""), host)


def _on_demand(table: Mapping[str, Any], host: Mapping[str, Any]) -> bool:
    """Whether a virtual host came over VHDS: there it is named after its table."""
    return "vhds" in table and str(host.get("name", "")).startswith(f"{table.get('name', '')}/")


def _scopes(section: Mapping[str, Any]) -> Iterator[Found]:
    for one in section.get("dynamic_scoped_route_configs", ()):
        for raw in one.get("scoped_route_configs", ()):
            version = one.get("version_info", "")
            yield _read("srds", raw.get("name", ""), raw, version=version)


def _filters(section: Mapping[str, Any]) -> Iterator[Found]:
    for one in section.get("ecds_filters", ()):
        raw = one.get("ecds_filter", {})
        yield _read("ecds", raw.get("name", ""), raw, version=one.get("version_info", ""))


def _secrets(section: Mapping[str, Any]) -> Iterator[Found]:
    """Names and versions alone, though Envoy redacts what it shows."""
    for key, place in (
        ("static_secrets", Place.STATIC),
        ("dynamic_active_secrets", Place.ACTIVE),
        ("dynamic_warming_secrets", Place.WARMING),
    ):
        for one in section.get(key, ()):
            why, version = "a secret is not shown", one.get("version_info", "")
            yield Found(one.get("name", ""), None, version, place, why)


def _runtime(bootstrap: Json, page: Mapping[str, Any]) -> Iterator[Found]:
    """Layers that came over RTDS, by the name of the resource; values as text, as told."""
    layers = bootstrap.get("layered_runtime", {}).get("layers", ())
    for index, layer in enumerate(layers):
        if "rtds_layer" not in layer:
            continue
        name = layer["rtds_layer"].get("name", "")
        values = {
            key: entry["layer_values"][index]
            for key, entry in page.get("entries", {}).items()
            if len(entry.get("layer_values", ())) > index and entry["layer_values"][index]
        }
        yield Found(name, flat_runtime({"name": name, "layer": values}))
