"""Access log entries: each request's endpoint, its end, and how long the endpoint took.

**Latency** is from the last byte that Envoy sent upstream to the last byte that it received from
there. So neither a slow client, nor a wait for a connection, nor the filters before the router
count against the endpoint; what it streams does. Where an endpoint answered before it had the
whole request, the time is from the first byte sent. With retries the durations are those of the
last attempt, and so is the address: earlier attempts are seen in load reports alone.

**Failed** is 5xx, a reset, a broken connection or a timeout. A request that its client left is
neither a success nor a failure, and its time is cut short, so it says nothing of the latency.

**Sticky** is what a session led where it went: Envoy says so in a tag of the entry, which has no
other (`translate/sessions.py`). It is told as a part of the entries that have a latency.

A log may be sampled. Then latencies are a sample and counts are scaled up, and only where the
proxy sends no load reports, which count exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from controlplane._pb import access_log_pb2
from controlplane.errors import TelemetryError
from controlplane.model import THEN, Proxy
from controlplane.observe.catalogue import Catalogue
from controlplane.observe.proxies import Heard, Proxies
from controlplane.observe.quantiles import LONGEST_S
from controlplane.observe.receipts import Receipts
from controlplane.observe.totals import Totals

_Common = access_log_pb2.AccessLogCommon

MAX_CHAIN = 16
"""Clusters that a log entry may name together; a rule has no more Backends."""


class AccessLogs:
    """Takes serialised StreamAccessLogsMessages; the `AccessLogSink` of the transport."""

    def __init__(
        self,
        catalogue: Catalogue,
        proxies: Proxies,
        receipts: Receipts,
        clock: Callable[[], float],
        reports_gone_s: float,
    ) -> None:
        """A proxy whose last load report is `reports_gone_s` old is counted by its logs again."""
        self._catalogue = catalogue
        self._proxies = proxies
        self._receipts = receipts
        self._clock = clock
        self._reports_gone_s = reports_gone_s
        self._scale = 1.0

    def sampled(self, percent: float) -> None:
        """This part of the requests is being logged, from now on."""
        if not 0.0 < percent <= 100.0:
            raise ValueError(f"{percent} % of the requests logged; wanted more than 0, at most 100")
        self._scale = 100.0 / percent

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """Count one message."""
        try:
            parsed = access_log_pb2.StreamAccessLogsMessage.FromString(message)
        except DecodeError as error:
            self._receipts.garbage += 1
            raise TelemetryError(f"not a StreamAccessLogsMessage: {error}") from error
        now_s = self._clock()
        heard = self._proxies.hear(proxy, now_s)
        counting = heard.reported_at_s < now_s - self._reports_gone_s
        found: dict[str, Totals | None] = {}
        entries = parsed.http_logs.log_entry
        self._receipts.log_entries += len(entries)
        aborted = failed = 0
        for entry in entries:
            common = entry.common_properties
            cluster = common.upstream_cluster
            try:
                totals = found[cluster]
            except KeyError:
                totals = found[cluster] = self._join(cluster, heard, counting, now_s)
            at = common.upstream_remote_address.socket_address
            if totals is None and THEN in cluster:
                place = (at.address, at.port_value)
                totals = self._one_of(cluster, place, found, heard, counting)
            slot = None if totals is None else totals.slots.get((at.address, at.port_value))
            flags = common.response_flags if common.HasField("response_flags") else None
            known = totals is not None and slot is not None
            if not known:
                self._receipts.unknown_entries += 1
            if flags is not None and _aborted(flags):
                aborted += 1
                self._receipts.aborted_entries += known
                continue
            code = entry.response.response_code.value
            bad = not 0 < code < 500 or (flags is not None and _failed(flags))
            failed += bad or (flags is not None and flags.no_route_found)
            if totals is not None and slot is not None:
                self._take(totals, slot, common, bad, counting)
        heard.count("access logs", len(entries) - aborted, failed)
        for one in found.values():
            if one is not None:
                one.timed_from(proxy.where)
                one.fold_if_long()

    def _join(self, cluster: str, heard: Heard, counting: bool, now_s: float) -> Totals | None:
        """The service of a cluster name, which has heard of this proxy now."""
        totals = self._catalogue.find(cluster, heard.aliases.get(cluster, ""))
        if totals is not None:
            member = totals.member(heard.proxy.key, heard.proxy.workers)
            if counting:
                member.logged_at_s = now_s
            totals.newest_s = now_s
        return totals

    def _one_of(
        self,
        cluster: str,
        place: tuple[str, int],
        found: dict[str, Totals | None],
        heard: Heard,
        counting: bool,
    ) -> Totals | None:
        """The service of that one of several clusters which has an endpoint there: Envoy logs the
        name of all of them together."""
        for name in cluster.split(THEN)[:MAX_CHAIN]:
            if name not in found:
                found[name] = self._join(name, heard, counting, self._clock())
            totals = found[name]
            if totals is not None and place in totals.slots:
                return totals
        return None

    def _take(
        self, totals: Totals, slot: int, common: _Common, failed: bool, counting: bool
    ) -> None:
        totals.logged_at_s[slot] = totals.newest_s
        if failed:
            if counting:
                totals.ended.append((slot, 0.0, self._scale))
            return
        if counting:
            totals.ended.append((slot, self._scale, 0.0))
        latency_s = _latency_s(common)
        if latency_s is None:
            self._receipts.untimed_entries += 1
            return
        totals.latency_slots.append(slot)
        totals.latencies_s.append(latency_s)
        if common.custom_tags:  # there is one alone
            totals.sticky += 1


def _latency_s(common: _Common) -> float | None:
    """Seconds from the last byte sent upstream to the last received; None: not in the entry.

    What would be longer than LONGEST_S is not believed either.
    """
    ended = common.time_to_last_upstream_rx_byte
    end_s = ended.seconds + ended.nanos * 1e-9
    sent = common.time_to_last_upstream_tx_byte
    taken_s = end_s - (sent.seconds + sent.nanos * 1e-9)
    if taken_s <= 0.0 or not common.HasField("time_to_last_upstream_tx_byte"):
        if not common.HasField("time_to_first_upstream_tx_byte"):
            return None
        sent = common.time_to_first_upstream_tx_byte
        taken_s = end_s - (sent.seconds + sent.nanos * 1e-9)
    return taken_s if 0.0 < taken_s <= LONGEST_S else None


def _aborted(flags: access_log_pb2.ResponseFlags) -> bool:
    """Whether the client left, or broke the protocol, before the response was complete."""
    return (
        flags.downstream_connection_termination
        or flags.downstream_remote_reset
        or flags.downstream_protocol_error
    )


def _failed(flags: access_log_pb2.ResponseFlags) -> bool:
    """Whether it ended by a reset, a broken connection or a timeout."""
    return (
        flags.upstream_request_timeout
        or flags.local_reset
        or flags.upstream_remote_reset
        or flags.upstream_connection_failure
        or flags.upstream_connection_termination
        or flags.upstream_retry_limit_exceeded
        or flags.stream_idle_timeout
        or flags.upstream_max_stream_duration_reached
        or flags.duration_timeout
        or flags.upstream_protocol_error
    )
