"""The data path: what the Envoys say of themselves, scraped from their `/stats/prometheus`."""

from __future__ import annotations

from deploy.grafana.board import PLACE, Board, Kind, Row, lines, number
from deploy.grafana.traffic import rate

UPSTREAM = f'{PLACE},envoy_cluster_name!~"weir|envoy-admin"'
"""Without what leads to Weir and to the Envoy itself."""
CLIENTS = f'{PLACE},envoy_http_conn_manager_prefix!~"admin|stats"'
EJECTIONS = "envoy_cluster_outlier_detection_ejections"

BOARD = Board(
    uid="weir-data-path",
    title="Weir / Data path",
    what="Envoys' own numbers: clients, upstreams, retries, ejections, their connection to Weir.",
    rows=(
        Row(
            "Now",
            (
                number("Envoys", "That are live.", f"sum(envoy_server_live{{{PLACE}}})"),
                number(
                    "Without Weir",
                    "Envoys that are not connected to a control plane: they serve on by what they "
                    "were told last.",
                    f"count(envoy_control_plane_connected_state{{{PLACE}}} == 0) or vector(0)",
                    warn=1,
                ),
                number(
                    "Ejected",
                    "Endpoints that outlier detection holds out, summed over Envoys.",
                    f"sum({EJECTIONS}_active{{{UPSTREAM}}})",
                    warn=1,
                ),
                number(
                    "Healthy",
                    "Part of the endpoints that Envoys hold for healthy.",
                    f"sum(envoy_cluster_membership_healthy{{{UPSTREAM}}}) / "
                    f"sum(envoy_cluster_membership_total{{{UPSTREAM}}})",
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Clients",
            (
                lines(
                    "Responses by class",
                    "Each second, to clients.",
                    (
                        "sum by (envoy_response_code_class) "
                        f"({rate('envoy_http_downstream_rq_xx', CLIENTS)})",
                        "{{envoy_response_code_class}}xx",
                    ),
                    unit="reqps",
                    kind=Kind.AREA,
                ),
                lines(
                    "Connections",
                    "Open connections of clients.",
                    (
                        "sum by (envoy_http_conn_manager_prefix) "
                        f"(envoy_http_downstream_cx_active{{{CLIENTS}}})",
                        "{{envoy_http_conn_manager_prefix}}",
                    ),
                ),
                lines(
                    "Time of a request, 99th percentile",
                    "From a client's first byte to the last byte of the answer, in Envoy.",
                    (
                        "histogram_quantile(0.99, sum by (le) "
                        f"({rate('envoy_http_downstream_rq_time_bucket', CLIENTS)}))",
                        "p99",
                    ),
                    unit="ms",
                ),
            ),
        ),
        Row(
            "Upstreams",
            (
                lines(
                    "Requests by cluster",
                    "Each second, retries among them. The ten busiest.",
                    (
                        "topk(10, sum by (envoy_cluster_name) "
                        f"({rate('envoy_cluster_upstream_rq_total', UPSTREAM)}))",
                        "{{envoy_cluster_name}}",
                    ),
                    unit="reqps",
                ),
                lines(
                    "Retries",
                    "Each second: tried again, succeeded then, and given up because the budget "
                    "was used.",
                    (f"sum({rate('envoy_cluster_upstream_rq_retry', UPSTREAM)})", "retries"),
                    (
                        f"sum({rate('envoy_cluster_upstream_rq_retry_success', UPSTREAM)})",
                        "successful",
                    ),
                    (
                        f"sum({rate('envoy_cluster_upstream_rq_retry_overflow', UPSTREAM)})",
                        "over budget",
                    ),
                ),
                lines(
                    "Refused by circuit breakers, timeouts",
                    "Requests each second that found too many pending, or no answer in time.",
                    (
                        f"sum({rate('envoy_cluster_upstream_rq_pending_overflow', UPSTREAM)})",
                        "breaker",
                    ),
                    (f"sum({rate('envoy_cluster_upstream_rq_timeout', UPSTREAM)})", "timeout"),
                ),
                lines(
                    "Connections",
                    "Open to endpoints, and failed ones each second.",
                    (f"sum(envoy_cluster_upstream_cx_active{{{UPSTREAM}}})", "open"),
                    (
                        f"sum({rate('envoy_cluster_upstream_cx_connect_fail', UPSTREAM)})",
                        "failed each second",
                    ),
                ),
            ),
        ),
        Row(
            "Health of endpoints",
            (
                lines(
                    "Ejections",
                    "Each second by outlier detection, and those that the limit of ejections "
                    "forbade.",
                    (f"sum({rate(f'{EJECTIONS}_enforced_total', UPSTREAM)})", "ejected"),
                    (f"sum({rate(f'{EJECTIONS}_overflow', UPSTREAM)})", "over the limit"),
                ),
                lines(
                    "Panic",
                    "Requests each second that were sent to any endpoint, healthy or not, because "
                    "too few are healthy.",
                    (f"sum({rate('envoy_cluster_lb_healthy_panic', UPSTREAM)})", "panic"),
                ),
                lines(
                    "Envoys' memory",
                    "Allocated by each Envoy; the ten largest.",
                    (f"topk(10, envoy_server_memory_allocated{{{PLACE}}})", "{{instance}}"),
                    unit="bytes",
                ),
            ),
        ),
    ),
)
