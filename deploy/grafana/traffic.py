"""Expressions that several dashboards ask: latency, requests, errors."""

from __future__ import annotations

from deploy.grafana.board import PLACE, SERVICE


def rate(metric: str, where: str = SERVICE) -> str:
    """Of a counter, each second."""
    return f"rate({metric}{{{where}}}[$__rate_interval])"


def quantile(q: float, by: str = "service") -> str:
    """Of the latency at endpoints, of the requests that succeeded."""
    buckets = rate("weir_endpoint_latency_seconds_bucket")
    return f"histogram_quantile({q:g}, sum by ({by}, le) ({buckets}))"


def mean_latency(by: str = "service") -> str:
    """Of the requests that succeeded."""
    total, count = (rate(f"weir_endpoint_latency_seconds_{one}") for one in ("sum", "count"))
    return f"sum by ({by}) ({total}) / sum by ({by}) ({count})"


def requests(by: str = "service") -> str:
    """That ended at an endpoint, each second."""
    return f"sum by ({by}) ({rate('weir_endpoint_requests_total')})"


def error_ratio(by: str = "service") -> str:
    """Part of the requests that failed; 0 where none did."""
    failed = rate("weir_endpoint_requests_total", f'{SERVICE},outcome="failure"')
    return f"sum by ({by}) ({failed}) / ({requests(by)} > 0)"


def in_flight(by: str = "service") -> str:
    """Requests at a time, over all Envoys."""
    return f"sum by ({by}) ({rate('weir_endpoint_in_flight_seconds_total')})"


def utilisation(by: str = "service") -> str:
    """As endpoints say it with their answers (ORCA), mean over requests."""
    total, count = (rate(f"weir_endpoint_utilisation_{one}") for one in ("sum", "count"))
    return f"sum by ({by}) ({total}) / sum by ({by}) ({count})"


def of_weir(expr: str) -> str:
    """Of what any process or scrape may have, that of Weir's own."""
    return f"{expr} and on (instance, job) weir_build_info{{{PLACE}}}"
