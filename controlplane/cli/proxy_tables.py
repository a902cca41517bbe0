"""The tables of `weir proxy-config`: from canonical JSON to rows for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from controlplane.inspection.canonical import Json
from controlplane.inspection.found import Found, Running

Row = tuple[str, ...]

_HEADS = {
    "cds": ("CLUSTER", "TYPE", "ENDPOINTS FROM", "LB POLICY", "VERSION", "STATE"),
    "eds": ("ENDPOINT", "CLUSTER", "GROUP", "WEIGHT", "GROUP WEIGHT", "PRIORITY", "HEALTH"),
    "lds": ("LISTENER", "ADDRESSES", "ROUTES FROM", "VERSION", "STATE"),
    "rds": ("ROUTES", "DOMAINS", "MATCH", "TO"),
}
KINDS = tuple(_HEADS)
"""The types that have a table, in the order in which they are printed."""

_MANAGER = "http_connection_manager.v3.HttpConnectionManager"


def table(kind: str, found: Sequence[Found]) -> Table:
    """A type's resources as rows."""
    made = Table(*_HEADS[kind], box=None, pad_edge=False)
    for one in found:
        for row in rows(kind, one):
            made.add_row(*row)
    return made


def bootstrap_table(found: Running) -> Table:
    """Who it is, and where its configuration comes from."""
    bootstrap = found.bootstrap
    node = bootstrap.get("node", {})
    dynamic = bootstrap.get("dynamic_resources", {})
    facts = {
        "node": found.node,
        "cluster": found.fleet,
        "zone": node.get("locality", {}).get("zone", ""),
        "version": _version(node.get("user_agent_build_version", {})),
        "ads": dynamic.get("ads_config", {}).get("api_type", "none"),
        "admin": _address(bootstrap.get("admin", {}).get("address", {})),
        "runtime layers": ", ".join(
            layer.get("name", "")
            for layer in bootstrap.get("layered_runtime", {}).get("layers", ())
        ),
    }
    made = Table("BOOTSTRAP", "", box=None, pad_edge=False)
    for name, value in facts.items():
        made.add_row(name, value or "-")
    return made


def rows(kind: str, one: Found) -> Iterator[Row]:
    """The rows of one resource; one with the reason where it cannot be shown."""
    if one.body is None:
        yield _padded((one.name, f"not shown: {one.why}"), len(_HEADS[kind]))
        return
    make = {"cds": _cluster, "eds": _endpoints, "lds": _listener, "rds": _routes}[kind]
    yield from make(one, one.body)


def _padded(row: Row, width: int) -> Row:
    return (*row, *[""] * (width - len(row)))


def _cluster(one: Found, body: Json) -> Iterator[Row]:
    eds = body.get("type") == "EDS"
    source = body.get("eds_cluster_config", {}).get("service_name") or one.name if eds else "-"
    policies = body.get("load_balancing_policy", {}).get("policies", ())
    names = [each.get("typed_extension_config", {}).get("name", "") for each in policies]
    policy = names[0].rpartition(".")[2] if names else body.get("lb_policy", "ROUND_ROBIN").lower()
    yield one.name, body.get("type", "STATIC"), source, policy, one.version or "-", one.place.value


def _endpoints(one: Found, body: Json) -> Iterator[Row]:
    for group in body.get("endpoints", ()):
        where = group.get("locality", {})
        parts = [where.get(part, "") for part in ("region", "zone", "sub_zone")]
        name = "/".join(part for part in parts if part) or "-"
        for each in group.get("lb_endpoints", ()):
            yield (
                _address(each.get("endpoint", {}).get("address", {})),
                one.name,
                name,
                str(each.get("load_balancing_weight", 1)),
                str(group.get("load_balancing_weight", "-")),
                str(group.get("priority", 0)),
                each.get("health_status", "-"),
            )
    if not body.get("endpoints"):
        yield _padded(("none", one.name), len(_HEADS["eds"]))


def _listener(one: Found, body: Json) -> Iterator[Row]:
    more = [each.get("address", {}) for each in body.get("additional_addresses", ())]
    addresses = ", ".join(_address(each) for each in [body.get("address", {}), *more])
    state = one.place.value + (f", next one refused: {one.refused}" if one.refused else "")
    yield one.name, addresses, ", ".join(_sources(body)) or "-", one.version or "-", state


def _sources(listener: Json) -> Iterator[str]:
    if "udp_listener_config" in listener:
        yield from (one.get("name", "") for one in listener.get("listener_filters", ()))
    chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
    for chain in chains:
        for one in chain.get("filters", ()):
            config = one.get("typed_config", {})
            if not str(config.get("@type", "")).endswith(_MANAGER):
                yield one.get("name", "")
            elif "rds" in config:
                yield f"rds: {config['rds'].get('route_config_name', '')}"
            else:
                yield "its own routes" if "route_config" in config else "scoped routes"


def _routes(one: Found, body: Json) -> Iterator[Row]:
    for host in body.get("virtual_hosts", ()):
        domains = ", ".join(host.get("domains", ()))
        for route in host.get("routes", ()):
            yield one.name, domains, _match(route.get("match", {})), _destination(route)


def _match(match: Json) -> str:
    path = next(
        (f"{word}{match[key]}{end}" for key, word, end in _PATHS if key in match),
        _regex(match) or "any path",
    )
    headers = [each.get("name", "") for each in match.get("headers", ())]
    queries = [f"?{each.get('name', '')}" for each in match.get("query_parameters", ())]
    return " ".join([path, *headers, *queries, *_chance(match)])


def _chance(match: Json) -> Iterator[str]:
    """Of the requests that come this far, in percent: bounds of parts, which add up."""
    part = match.get("runtime_fraction", {}).get("default_value")
    if part is not None:
        whole = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
        of = whole.get(str(part.get("denominator", "HUNDRED")), 100)
        yield f"up to {100 * int(part.get('numerator', 0)) / of:.4g} %"


_PATHS = (
    ("path", "", ""),
    ("prefix", "", "*"),
    ("path_separated_prefix", "", "/*"),
)


def _regex(match: Json) -> str:
    regex = match.get("safe_regex", {}).get("regex", "")
    return f"~{regex}" if regex else ""


def _destination(route: Json) -> str:
    action: Mapping[str, Any] = route.get("route", {})
    if "cluster" in action:
        return str(action["cluster"])
    if "weighted_clusters" in action:
        parts = action["weighted_clusters"].get("clusters", ())
        return ", ".join(f"{one.get('name', '')} ({one.get('weight', 0)})" for one in parts)
    if "cluster_header" in action:
        return f"by header {action['cluster_header']}"
    if "direct_response" in route:
        return f"status {route['direct_response'].get('status', '')}"
    return "redirect" if "redirect" in route else "-"


def _address(address: Json) -> str:
    where = address.get("socket_address")
    if where is None:
        return str(address.get("pipe", {}).get("path", "-"))
    host = where.get("address", "")
    return f"{f'[{host}]' if ':' in host else host}:{where.get('port_value', 0)}"


def _version(build: Json) -> str:
    number = build.get("version", {})
    parts = [str(number.get(part, 0)) for part in ("major_number", "minor_number", "patch")]
    return ".".join(parts) if number else ""
