"""What was received, on /metrics, so that Prometheus adds it up over replicas.

Everything about endpoints is a counter or a histogram of counters: sums over replicas are right,
and a proxy that moves to another replica is counted once. The latency histogram is in `histogram`.
`docs/metrics.md` describes each metric; a test compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from controlplane.observe.catalogue import Catalogue
from controlplane.observe.members import Present
from controlplane.observe.proxies import Proxies
from controlplane.observe.receipts import Receipts
from controlplane.observe.totals import Field, Totals

_LABELS = ("service", "endpoint")


class TrafficCollector(Collector):
    """Register it in the registry that /metrics serves."""

    def __init__(
        self,
        catalogue: Catalogue,
        proxies: Proxies,
        receipts: Receipts,
        clock: Callable[[], float],
        live_s: float,
    ) -> None:
        """A proxy is live when it reported at most `live_s` ago."""
        self._catalogue = catalogue
        self._proxies = proxies
        self._receipts = receipts
        self._clock = clock
        self._live_s = live_s

    def describe(self) -> Iterator[Metric]:
        """Nothing is read while registering."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of the document."""
        services = list(self._catalogue)
        for totals in services:
            totals.fold()
        yield from self._requests(services)
        yield self._utilisations(services)
        yield from self._of_services(services)
        yield self._members(services)
        yield from self._received()

    def _requests(self, services: list[Totals]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "weir_endpoint_requests_total",
            "Requests that ended at an endpoint, by outcome (success, failure).",
            labels=(*_LABELS, "outcome"),
        )
        in_flight = CounterMetricFamily(
            "weir_endpoint_in_flight_seconds_total",
            "Seconds spent by requests at an endpoint; its rate is the mean number in flight.",
            labels=_LABELS,
        )
        for totals in services:
            name = totals.service.name
            succeeded = totals.counted[Field.SUCCEEDED].tolist()
            failed = totals.counted[Field.FAILED].tolist()
            spent_s = totals.counted[Field.IN_FLIGHT_S].tolist()
            for i, endpoint in enumerate(totals.endpoints):
                requests.add_metric((name, endpoint, "success"), succeeded[i])
                requests.add_metric((name, endpoint, "failure"), failed[i])
                if totals.reported_s > 0:
                    in_flight.add_metric((name, endpoint), spent_s[i])
        yield requests
        yield in_flight

    def _utilisations(self, services: list[Totals]) -> Metric:
        family = SummaryMetricFamily(
            "weir_endpoint_utilisation",
            "Utilisation that an endpoint sent with its responses (ORCA): sum and number.",
            labels=_LABELS,
        )
        for totals in services:
            sums = totals.counted[Field.UTILISATION].tolist()
            counts = totals.counted[Field.UTILISATION_SAMPLES].tolist()
            for i, endpoint in enumerate(totals.endpoints):
                if counts[i]:
                    family.add_metric((totals.service.name, endpoint), int(counts[i]), sums[i])
        return family

    def _of_services(self, services: list[Totals]) -> Iterator[Metric]:
        placed = CounterMetricFamily(
            "weir_service_requests_total",
            "Requests that ended, by the place of the Envoys that report them.",
            labels=("service", "region", "zone"),
        )
        sticky = CounterMetricFamily(
            "weir_service_sticky_requests_total",
            "Successful requests in access logs that a session led.",
            labels=("service",),
        )
        for totals in services:
            name = totals.service.name
            for place, ended in totals.ended_at.items():
                placed.add_metric((name, place.region, place.zone), ended)
            if totals.sticky:
                sticky.add_metric((name,), totals.sticky)
        yield placed
        yield sticky

    def _members(self, services: list[Totals]) -> Metric:
        family = GaugeMetricFamily(
            "weir_service_proxies",
            "Envoys that report a service to this replica, and workers of those Envoys.",
            labels=("service", "unit"),
        )
        now_s = self._clock()
        for totals in services:
            present = Present.of(totals.members, now_s, self._live_s)
            name = totals.service.name
            family.add_metric((name, "proxy"), present.reporting + present.logging)
            family.add_metric((name, "worker"), present.workers)
        return family

    def _received(self) -> Iterator[Metric]:
        got = self._receipts
        for name, words, value in (
            ("log_entries", "Access log entries read.", got.log_entries),
            (
                "unknown_log_entries",
                "Access log entries of a cluster or an endpoint that is not declared.",
                got.unknown_entries,
            ),
            (
                "aborted_log_entries",
                "Access log entries of requests that their client left.",
                got.aborted_entries,
            ),
            (
                "untimed_log_entries",
                "Access log entries of successes without the durations that a latency needs.",
                got.untimed_entries,
            ),
            ("load_reports", "Load reports read.", got.load_reports),
            (
                "unknown_clusters",
                "Clusters in load reports that are not declared.",
                got.unknown_clusters,
            ),
            (
                "unknown_endpoints",
                "Endpoints in load reports that their service does not declare.",
                got.unknown_endpoints,
            ),
            (
                "impossible_counts",
                "Endpoints in load reports whose counts cannot be true.",
                got.impossible_counts,
            ),
            ("garbage", "Access logs and load reports that could not be read.", got.garbage),
        ):
            yield CounterMetricFamily(f"weir_telemetry_{name}_total", words, value=value)
        yield GaugeMetricFamily(
            "weir_telemetry_proxies", "Envoys heard of in the last minutes.", len(self._proxies)
        )
