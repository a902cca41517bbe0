"""Capacity: how busy services are, where that goes, and what Weir itself needs."""

from __future__ import annotations

from deploy.grafana.board import PLACE, Board, Row, gauge, lines, number
from deploy.grafana.traffic import in_flight, of_weir, rate, requests, utilisation

BOARD = Board(
    uid="weir-capacity",
    title="Weir / Capacity",
    what="Load of services and its course, sizes of what is served, and what Weir costs.",
    by_service=True,
    rows=(
        Row(
            "Services",
            (
                gauge(
                    "Busiest service",
                    "Utilisation as endpoints say it (ORCA). Above 80 % a busy second queues.",
                    f"max({utilisation()})",
                    warn=0.7,
                    alarm=0.85,
                ),
                lines(
                    "Utilisation",
                    "As endpoints say it with their answers (ORCA), mean over requests.",
                    (utilisation(), "{{service}}"),
                    unit="percentunit",
                ),
                lines(
                    "In flight",
                    "Requests at a time, over all endpoints: by Little's law the rate times the "
                    "latency.",
                    (in_flight(), "{{service}}"),
                ),
                lines(
                    "Requests of each endpoint",
                    "Mean over the endpoints that had any.",
                    (f"avg by (service) ({requests('service, endpoint')} > 0)", "{{service}}"),
                    unit="reqps",
                ),
            ),
        ),
        Row(
            "Where it goes",
            (
                lines(
                    "Requests, and in an hour",
                    "Now, and along the line of the last half hour.",
                    (requests(), "{{service}}"),
                    (
                        f"predict_linear(({requests()})[30m:5s], 3600) > 0",
                        "{{service}} in an hour",
                    ),
                    unit="reqps",
                ),
                number(
                    "Endpoints",
                    "That had requests.",
                    f"count({requests('service, endpoint')} > 0)",
                ),
                number(
                    "Envoys",
                    "That were heard of in the last five minutes.",
                    f"sum(weir_telemetry_proxies{{{PLACE}}})",
                ),
            ),
        ),
        Row(
            "What Weir costs",
            (
                lines(
                    "CPU for 1,000 requests",
                    "Core milliseconds of Weir for each thousand requests of the fleet.",
                    (
                        f"1e6 * sum({of_weir(rate('process_cpu_seconds_total', PLACE))}) / "
                        f"(sum({rate('weir_endpoint_requests_total', PLACE)}) > 0)",
                        "ms",
                    ),
                    unit="ms",
                ),
                lines(
                    "Access log entries",
                    "Each second. They are sampled down as traffic grows.",
                    (f"sum({rate('weir_telemetry_log_entries_total', PLACE)})", "entries"),
                ),
                lines(
                    "Series",
                    "Samples in a scrape of each Weir.",
                    (
                        of_weir(f"scrape_samples_scraped{{{PLACE}}}"),
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Bytes pushed",
                    "Each second to all Envoys.",
                    (f"sum({rate('weir_xds_pushed_bytes_total', PLACE)})", "bytes"),
                    unit="Bps",
                ),
            ),
        ),
    ),
)
