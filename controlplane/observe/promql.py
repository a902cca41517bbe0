"""The queries, made from templates. Every value from outside is escaped.

One instant query asks for all fields of all services at once: each part carries a label `weir` that
says which field it is, and the parts are joined with `or`. So there is one moment that all numbers
belong to, and one answer to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FIELD = "weir"
"""The label that says what a series of the answer is."""
PLACES = "by_place"
"""The field whose series are of places and not of endpoints."""
MOST_NAMES = 200
"""More services than this are not named in the query: all are fetched."""

_REGEX_MARKS = frozenset(r"\.+*?()|[]{}^$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which metrics a Prometheus has of our traffic."""

    name: str
    service: str
    """The label with the name of the service."""
    endpoint: str
    """The label with `address:port`."""
    fields: Mapping[str, str]
    """Field -> expression, with $by, $match, $window, $one (the service label alone) and $place."""


WEIR = Dialect(
    name="weir",
    service="service",
    endpoint="endpoint",
    fields={
        "succeeded": "sum $by "
        '(rate(weir_endpoint_requests_total{outcome="success"$match}[$window]))',
        "failed": 'sum $by (rate(weir_endpoint_requests_total{outcome="failure"$match}[$window]))',
        "in_flight": "sum $by (rate(weir_endpoint_in_flight_seconds_total{$match}[$window]))",
        "latency": "sum $by (rate(weir_endpoint_latency_seconds_sum{$match}[$window])) / "
        "sum $by (rate(weir_endpoint_latency_seconds_count{$match}[$window]))",
        "latency_p99": "histogram_quantile(0.99, sum $by_le "
        "(rate(weir_endpoint_latency_seconds_bucket{$match}[$window])))",
        "samples": "sum $by (rate(weir_endpoint_latency_seconds_count{$match}[$window]))",
        "utilisation": "sum $by (rate(weir_endpoint_utilisation_sum{$match}[$window])) / "
        "sum $by (rate(weir_endpoint_utilisation_count{$match}[$window]))",
        "taken": 'max $by (timestamp(weir_endpoint_requests_total{outcome="success"$match}))',
        "proxies": 'sum $one (weir_service_proxies{unit="proxy"$match})',
        "sticky": "sum $one (rate(weir_service_sticky_requests_total{$match}[$window]))",
        PLACES: "sum $place (rate(weir_service_requests_total{$match}[$window]))",
        "workers": 'sum $one (weir_service_proxies{unit="worker"$match})',
    },
)
"""What our replicas expose, summed over them."""

ENVOY = Dialect(
    name="envoy",
    service="envoy_cluster_name",
    endpoint="envoy_endpoint_address",
    fields={
        "succeeded": "sum $by (rate(envoy_cluster_endpoint_rq_success{$match}[$window]))",
        "failed": "sum $by (rate(envoy_cluster_endpoint_rq_error{$match}[$window]))",
        "in_flight": "sum $by (avg_over_time(envoy_cluster_endpoint_rq_active{$match}[$window]))",
        "looks": "sum $by (count_over_time(envoy_cluster_endpoint_rq_active{$match}[$window]))",
        "taken": "max $by (timestamp(envoy_cluster_endpoint_rq_total{$match}))",
        "reporting": "count $by (envoy_cluster_endpoint_rq_total{$match})",
        "expected": "count $by (count_over_time(envoy_cluster_endpoint_rq_total{$match}[$longer]))",
    },
)
"""What Envoys with `track_cluster_stats.per_endpoint_stats` expose themselves. There is no latency
in it; see `littles_law` in `prometheus`."""


def query(
    dialect: Dialect, names: Sequence[str], window_s: float, matchers: Mapping[str, str]
) -> str:
    """The one query for these services. `matchers` are further labels that must be equal."""
    match = "".join(f',{label}="{quoted(value)}"' for label, value in sorted(matchers.items()))
    if len(names) <= MOST_NAMES:
        one_of = "|".join(literal(name) for name in names)
        match += f',{dialect.service}=~"{quoted(one_of)}"'
    by = f"{dialect.service}, {dialect.endpoint}"
    values = {
        "$by_le": f"by ({by}, le)",
        "$by": f"by ({by})",
        "$one": f"by ({dialect.service})",
        "$place": f"by ({dialect.service}, region, zone)",
        "$window": f"{round(window_s * 1000)}ms",
        "$longer": f"{round(max(30.0, 3 * window_s) * 1000)}ms",
    }
    parts = []
    for field, expression in dialect.fields.items():
        for name, value in values.items():
            expression = expression.replace(name, value)
        expression = expression.replace("{$match}", "{" + match.removeprefix(",") + "}")
        expression = expression.replace("$match", match)
        parts.append(f'label_replace({expression}, "{FIELD}", "{field}", "", "")')
    return " or ".join(parts)


def quoted(text: str) -> str:
    r"""Inside a double-quoted PromQL string.

    >>> quoted('a"b\\c')
    'a\\"b\\\\c'
    """
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def literal(text: str) -> str:
    r"""A regular expression (RE2) that matches just this text.

    >>> literal("default/web.v1")
    'default/web\\.v1'
    """
    return "".join("\\" + mark if mark in _REGEX_MARKS else mark for mark in text)
