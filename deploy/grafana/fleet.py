"""Fleet overview: is everything well, and if not, where to look."""

from __future__ import annotations

from deploy.grafana.board import PLACE, Board, Kind, Row, lines, number
from deploy.grafana.traffic import error_ratio, of_weir, quantile, rate, requests

BOARD = Board(
    uid="weir-fleet",
    title="Weir / Fleet overview",
    what="All services and Envoys of the chosen installations. From here to one service, xDS, "
    "the data path, learning and capacity.",
    by_service=True,
    rows=(
        Row(
            "Now",
            (
                number(
                    "Services",
                    "Services whose weights are decided about.",
                    f"max(weir_services{{{PLACE}}})",
                ),
                number(
                    "Envoys",
                    "Envoys whose access logs or load reports came in the last five minutes.",
                    f"sum(weir_telemetry_proxies{{{PLACE}}})",
                ),
                number(
                    "Requests",
                    "Requests that ended at an endpoint, each second.",
                    f"sum({requests()})",
                    unit="reqps",
                ),
                number(
                    "Errors",
                    "Part of the requests that failed: 5xx, reset, timeout.",
                    f"{error_ratio('')} or vector(0)",
                    unit="percentunit",
                    warn=0.001,
                    alarm=0.01,
                ),
                number(
                    "Streams that are not in sync",
                    "Envoys times resource types that do not run what they should. Above 0 for "
                    "more than a minute: weir proxy-status.",
                    f'sum(weir_xds_streams_in_state{{{PLACE},state!="synced"}}) or vector(0)',
                    warn=1,
                    alarm=10,
                ),
                number(
                    "Frozen",
                    "1 while the kill switch holds every service: weir policy resume.",
                    f"max(weir_frozen{{{PLACE}}})",
                    warn=1,
                ),
                number(
                    "Problems in documents",
                    "Of the declared documents; the last valid ones are in force: weir status.",
                    f"max(weir_configuration_problems{{{PLACE}}})",
                    warn=1,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                lines(
                    "Requests by service",
                    "The ten busiest.",
                    (f"topk(10, {requests()})", "{{service}}"),
                    unit="reqps",
                ),
                lines(
                    "99th percentile by service",
                    "At endpoints, of requests that succeeded. The ten slowest.",
                    (f"topk(10, {quantile(0.99)})", "{{service}}"),
                    unit="s",
                ),
                lines(
                    "Errors by service",
                    "Part of the requests that failed. The ten worst; a service without requests "
                    "has no line.",
                    (f"topk(10, {error_ratio()})", "{{service}}"),
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Decisions",
            (
                lines(
                    "By policy",
                    "Services that were decided about each second, by the policy whose proposal "
                    "the guard saw. A fallback that takes over shows here.",
                    (
                        f"sum by (policy) ({rate('weir_services_decided_total', PLACE)})",
                        "{{policy}}",
                    ),
                    kind=Kind.AREA,
                ),
                lines(
                    "Changes of weights",
                    "Verdicts that changed the weights in force, each second.",
                    (f"sum({rate('weir_weights_changed_total', PLACE)})", "changes"),
                ),
                lines(
                    "Reasons of the guard",
                    "Each second, by their code; docs/guard.md says what each means.",
                    (f"sum by (code) ({rate('weir_guard_reasons_total', PLACE)})", "{{code}}"),
                ),
            ),
        ),
        Row(
            "Weir itself",
            (
                lines(
                    "Stages of a tick, 99th percentile",
                    "Observe, decide, guard, remember, publish. Together they must stay below the "
                    "interval of the shortest policy.",
                    (
                        "histogram_quantile(0.99, sum by (stage, le) "
                        f"({rate('weir_tick_stage_seconds_bucket', PLACE)}))",
                        "{{stage}}",
                    ),
                    unit="s",
                ),
                lines(
                    "Decisions that were passed over",
                    "A service was due while the loop was still busy. Above 0 for long: fewer "
                    "services for each Weir, or a longer interval.",
                    (f"sum({rate('weir_decisions_missed_total', PLACE)})", "missed"),
                ),
                lines(
                    "CPU",
                    "Cores of each Weir.",
                    (
                        of_weir(rate("process_cpu_seconds_total", PLACE)),
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Memory",
                    "Resident memory of each Weir.",
                    (
                        of_weir(f"process_resident_memory_bytes{{{PLACE}}}"),
                        "{{instance}}",
                    ),
                    unit="bytes",
                ),
            ),
        ),
    ),
)
