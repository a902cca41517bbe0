"""Load reports: exact counts for each endpoint, requests in progress, and ORCA.

A report carries the deltas since the one before and names every cluster that the proxy has, also
the idle ones, so silence about an endpoint is a zero and not a gap. `in_progress` is the number at
the moment of the report; times the seconds that the report covers, it adds up to request-seconds,
whose growth over a window is the mean number in flight.

**Utilisation** is `application_utilization`, else the greatest of the custom metrics, else
`cpu_utilization`: the order in which Envoy's client-side weighted round robin takes them. The
cluster must name them in `lrs_report_endpoint_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from google.protobuf.message import DecodeError

from controlplane._pb import load_stats_pb2
from controlplane.errors import TelemetryError
from controlplane.model import Proxy
from controlplane.observe.catalogue import Catalogue
from controlplane.observe.proxies import MAX_ALIASES, MAX_NAME, Heard, Proxies
from controlplane.observe.receipts import Receipts
from controlplane.observe.totals import Totals

NAMED = "named_metrics."
LONGEST_INTERVALS = 10.0
"""A report claims at most this many intervals of ours: more is not believed."""
MOST_REQUESTS = 1e9
"""A report of more than this at an endpoint is a lie, and would spoil the sums for ever."""
GREATEST_UTILISATION = 100.0
"""A mean utilisation above this, or below 0, is no utilisation."""


class LoadReports:
    """Takes serialised LoadStatsRequests; the `LoadReportSink` of the transport."""

    def __init__(
        self,
        catalogue: Catalogue,
        proxies: Proxies,
        receipts: Receipts,
        clock: Callable[[], float],
        interval_s: float,
        custom_metrics: Iterable[str] = (),
    ) -> None:
        """`custom_metrics` are the named ORCA metrics that are utilisations."""
        self._catalogue = catalogue
        self._proxies = proxies
        self._receipts = receipts
        self._clock = clock
        self._interval_s = interval_s
        self._custom = frozenset(NAMED + name for name in custom_metrics)

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """Count one message. The first of a stream covers no time and counts nothing."""
        try:
            report = load_stats_pb2.LoadStatsRequest.FromString(message)
        except DecodeError as error:
            self._receipts.garbage += 1
            raise TelemetryError(f"not a LoadStatsRequest: {error}") from error
        now_s = self._clock()
        heard = self._proxies.hear(proxy, now_s)
        heard.reported_at_s = now_s
        if first:
            return
        self._receipts.load_reports += 1
        for cluster in report.cluster_stats:
            totals = self._catalogue.find(cluster.cluster_name, cluster.cluster_service_name)
            if totals is None:
                self._receipts.unknown_clusters += 1
                continue
            _learn_alias(heard, cluster)
            heard.count("load reports", *self._take(totals, proxy, cluster, now_s))

    def _take(
        self, totals: Totals, proxy: Proxy, cluster: load_stats_pb2.ClusterStats, now_s: float
    ) -> tuple[float, float]:
        """Requests that ended in the cluster, also at endpoints that are not declared (any more),
        and those of them that failed."""
        claimed = cluster.load_report_interval
        covered_s = claimed.seconds + claimed.nanos * 1e-9
        if not 0.0 < covered_s <= LONGEST_INTERVALS * self._interval_s:
            covered_s = self._interval_s
        totals.member(proxy.key, proxy.workers).reported_at_s = now_s
        totals.reported_at_s = totals.newest_s = now_s
        totals.reported_s += covered_s
        slots = totals.slots
        ended = failed = 0.0
        for locality in cluster.upstream_locality_stats:
            for one in locality.upstream_endpoint_stats:
                if not _believable(one):
                    self._receipts.impossible_counts += 1
                    continue
                failed += one.total_error_requests
                ended += one.total_error_requests + one.total_successful_requests
                at = one.address.socket_address
                slot = slots.get((at.address, at.port_value))
                if slot is None:
                    self._receipts.unknown_endpoints += 1
                    continue
                utilisation, samples = self._utilisation(one)
                totals.reports += (
                    slot,
                    one.total_successful_requests,
                    one.total_error_requests,
                    one.total_issued_requests,
                    one.total_requests_in_progress * covered_s,
                    utilisation,
                    samples,
                )
        totals.count_at(proxy.where, ended)
        totals.fold_if_long()
        return ended, failed

    def _utilisation(self, one: load_stats_pb2.UpstreamEndpointStats) -> tuple[float, float]:
        """Sum and number of the utilisations that the endpoint sent with its responses."""
        best, best_rank = (0.0, 0.0), (-1, 0.0)
        for stat in one.load_metric_stats:
            count = stat.num_requests_finished_with_metric
            rank = self._rank(stat.metric_name)
            if rank < 0 or not 0 < count <= MOST_REQUESTS:
                continue
            mean = stat.total_metric_value / count
            # In CSWRR a utilisation of 0 means "not set"; NaN fails every comparison.
            if 0.0 < mean <= GREATEST_UTILISATION and (rank, mean) > best_rank:
                best, best_rank = (stat.total_metric_value, float(count)), (rank, mean)
        return best

    def _rank(self, name: str) -> int:
        if name == "application_utilization":
            return 2
        if name in self._custom:
            return 1
        return 0 if name == "cpu_utilization" else -1


def _believable(one: load_stats_pb2.UpstreamEndpointStats) -> bool:
    return (
        one.total_successful_requests <= MOST_REQUESTS
        and one.total_error_requests <= MOST_REQUESTS
        and one.total_issued_requests <= MOST_REQUESTS
        and one.total_requests_in_progress <= MOST_REQUESTS
    )


def _learn_alias(heard: Heard, cluster: load_stats_pb2.ClusterStats) -> None:
    """Its access logs name the cluster; only its load reports say which service that is."""
    name, service = cluster.cluster_name, cluster.cluster_service_name
    longest = max(len(name), len(service))
    if service and service != name and longest <= MAX_NAME and len(heard.aliases) < MAX_ALIASES:
        heard.aliases[name] = service
