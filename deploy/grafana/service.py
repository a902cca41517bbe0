"""One service: what its requests get, where they go, who decided that, and why."""

from __future__ import annotations

from deploy.grafana.board import SERVICE, Board, Kind, Row, lines, number
from deploy.grafana.traffic import (
    error_ratio,
    in_flight,
    mean_latency,
    quantile,
    requests,
    utilisation,
)

BOARD = Board(
    uid="weir-service",
    title="Weir / One service",
    what="The service that is chosen above: latency, shares, reasons. The same in words: "
    "weir weights explain NAMESPACE/NAME.",
    by_service=True,
    rows=(
        Row(
            "Requests",
            (
                lines(
                    "Requests by outcome",
                    "A request that its client left is neither.",
                    (requests("service, outcome"), "{{service}} {{outcome}}"),
                    unit="reqps",
                ),
                lines(
                    "Latency",
                    "At endpoints, of requests that succeeded.",
                    (mean_latency(), "{{service}} mean"),
                    (quantile(0.5), "{{service}} p50"),
                    (quantile(0.99), "{{service}} p99"),
                    unit="s",
                ),
                lines(
                    "Errors",
                    "Part of the requests that failed.",
                    (error_ratio(), "{{service}}"),
                    unit="percentunit",
                ),
            ),
        ),
        Row(
            "Where they go",
            (
                lines(
                    "Shares in force",
                    "Of each group of endpoints (with endpoint weights of each endpoint).",
                    (
                        f"max by (service, group) (weir_service_share{{{SERVICE}}})",
                        "{{service}} {{group}}",
                    ),
                    unit="percentunit",
                    kind=Kind.AREA,
                ),
                lines(
                    "Requests by endpoint",
                    "The twenty busiest: what came of the shares.",
                    (f"topk(20, {requests('service, endpoint')})", "{{endpoint}}"),
                    unit="reqps",
                ),
                lines(
                    "In flight by endpoint",
                    "Requests that an endpoint has at a time, over all Envoys. The twenty busiest. "
                    "Empty without load reports.",
                    (
                        f"topk(20, {in_flight('service, endpoint')})",
                        "{{endpoint}}",
                    ),
                ),
            ),
        ),
        Row(
            "How endpoints do",
            (
                lines(
                    "99th percentile by endpoint",
                    "The twenty slowest.",
                    (f"topk(20, {quantile(0.99, 'service, endpoint')})", "{{endpoint}}"),
                    unit="s",
                ),
                lines(
                    "Errors by endpoint",
                    "The twenty worst.",
                    (f"topk(20, {error_ratio('service, endpoint')})", "{{endpoint}}"),
                    unit="percentunit",
                ),
                lines(
                    "Utilisation by endpoint",
                    "As they say it themselves with their answers (ORCA); empty where they do not.",
                    (
                        f"topk(20, {utilisation('service, endpoint')})",
                        "{{endpoint}}",
                    ),
                    unit="percentunit",
                    steady=True,
                ),
            ),
        ),
        Row(
            "Who decides, and why",
            (
                lines(
                    "Policy",
                    "Whose proposal the guard saw last.",
                    (
                        f"max by (service, policy) (weir_service_policy{{{SERVICE}}})",
                        "{{service}} {{policy}}",
                    ),
                    kind=Kind.AREA,
                ),
                lines(
                    "Reasons",
                    "Of the last decision; docs/guard.md says what each means.",
                    (
                        f"max by (service, code) (weir_service_reason{{{SERVICE}}})",
                        "{{service}} {{code}}",
                    ),
                    kind=Kind.AREA,
                ),
                lines(
                    "Moved",
                    "Part of the requests that the learned policy moves against its base, and the "
                    "guard against the proposal.",
                    (
                        f"max by (service, by) (weir_service_moved_share{{{SERVICE}}})",
                        "{{service}} {{by}}",
                    ),
                    unit="percentunit",
                ),
                number(
                    "Envoys",
                    "That report this service.",
                    f'sum(weir_service_proxies{{{SERVICE},unit="proxy"}})',
                ),
            ),
        ),
    ),
)
