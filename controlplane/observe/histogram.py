"""The latency histograms on /metrics, written as text by ourselves.

They are most of what we expose: 59 lines for each endpoint. `prometheus_client` takes about 14 µs
for a line, which for 1,000 endpoints would hold up the loop for most of a second at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.observe.totals import LATENCY_BOUNDS_S, Field, Totals

NAME = "weir_endpoint_latency_seconds"
HELP = "Time that an endpoint took for a successful request, from (sampled) access logs."

_BOUNDS = (*(f"{bound:.6g}" for bound in LATENCY_BOUNDS_S), "+Inf")
_LINES = [
    *(NAME + '_bucket{@,le="' + bound + '"} %d\n' for bound in _BOUNDS),
    NAME + "_count{@} %d\n",
    NAME + "_sum{@} %r\n",
]
_SERIES = "".join(_LINES)
"""One endpoint: numbers for the % marks, its labels for each @."""


def latency_histograms(services: Iterable[Totals]) -> bytes:
    """In the Prometheus text format, to follow what the registry gives."""
    parts = [f"# HELP {NAME} {HELP}\n# TYPE {NAME} histogram\n"]
    for totals in services:
        totals.fold()
        running = totals.buckets.cumsum(axis=0, dtype="uint64").T.tolist()
        sums = totals.counted[Field.LATENCY_S].tolist()
        for i, endpoint in enumerate(totals.endpoints):
            counts = running[i]
            if counts[-1]:
                labels = (
                    f'service="{_escaped(totals.service.name)}",endpoint="{_escaped(endpoint)}"'
                )
                series = _SERIES % (*counts, counts[-1], sums[i])
                parts.append(series.replace("@", labels))
    return "".join(parts).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
