"""What the xDS server counts, on /metrics. Read when it is scraped: a push costs nothing more."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.xds.effects import TypeStatus
from controlplane.xds.server import XdsServer
from controlplane.xds.staged import Outcome, StagedSink
from controlplane.xds.status import State, short_name, state_of


class XdsCollector(Collector):
    """Register it in the registry that /metrics serves. Labels are fleets and types, not Envoys."""

    def __init__(self, server: XdsServer, wall_clock: Callable[[], float] = time.time) -> None:
        self._server = server
        self._wall_clock = wall_clock

    def describe(self) -> Iterator[Metric]:
        """Nothing is read while registering."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of docs/metrics.md."""
        yield from self._streams()
        yield from self._messages()
        yield from self._files()

    def _streams(self) -> Iterator[Metric]:
        streams = GaugeMetricFamily(
            "weir_xds_streams", "Open xDS streams.", labels=("fleet", "mode")
        )
        behind = GaugeMetricFamily(
            "weir_xds_streams_behind",
            "Streams that have not taken, or have refused, what was sent last.",
            labels=("fleet", "type"),
        )
        refusing = GaugeMetricFamily(
            "weir_xds_streams_refusing",
            "Streams whose Envoy refused what was sent last and keeps what it had.",
            labels=("fleet", "type"),
        )
        in_state = GaugeMetricFamily(
            "weir_xds_streams_in_state",
            "Streams whose Envoy runs what it should (synced), not yet (stale), or got nothing.",
            labels=("fleet", "type", "state"),
        )
        oldest = _Longest(
            "weir_xds_oldest_stream_seconds", "Age of the oldest open stream.", ("fleet", "mode")
        )
        pending = _Longest(
            "weir_xds_pending_seconds",
            "Longest time for which a response has been without an answer.",
            ("fleet", "type"),
        )
        refused = _Longest(
            "weir_xds_refused_seconds",
            "Longest time for which an Envoy has refused what it should run.",
            ("fleet", "type"),
        )
        now_s = time.monotonic()
        count: Counter[tuple[str, str]] = Counter()
        tallies: dict[tuple[str, str], _Tally] = {}
        for stream in self._server.connections():
            how = (stream.group, stream.mode.value)
            count[how] += 1
            oldest.add(how, now_s - stream.since_s)
            for one, since_s in stream.types():
                where = (stream.group, short_name(one.type_url))
                tally = tallies.get(where)
                if tally is None:
                    tally = tallies[where] = _Tally()
                tally.add(one, now_s - since_s)
        yield _filled(streams, count)
        for where, tally in sorted(tallies.items()):
            for state, number in tally.states.items():
                in_state.add_metric((*where, state.name.lower()), number)
            behind.add_metric(where, tally.behind)
            refusing.add_metric(where, tally.refusing)
            pending.add(where, tally.pending_s)
            refused.add(where, tally.refused_s)
        yield from (in_state, behind, refusing)
        yield from (oldest.family(), pending.family(), refused.family())

    def _messages(self) -> Iterator[Metric]:
        counts = self._server.counts
        families = {
            "pushes": ("weir_xds_pushes", "Responses sent."),
            "pushed_bytes": ("weir_xds_pushed_bytes", "Bytes of these responses."),
            "acks": ("weir_xds_acks", "Responses that an Envoy took."),
            "nacks": ("weir_xds_nacks", "Responses that an Envoy refused."),
        }
        for field, (name, text) in families.items():
            family = CounterMetricFamily(name, text, labels=("fleet", "type"))
            for (fleet, kind), one in sorted(counts.by_type.items()):
                family.add_metric((fleet, kind), getattr(one, field))
            yield family
        answers = CounterMetricFamily(
            "weir_xds_answer_seconds",
            "Time from responses to their ACK or NACK, summed.",
            labels=("fleet", "type"),
        )
        for (fleet, kind), one in sorted(counts.by_type.items()):
            answers.add_metric((fleet, kind), one.answer_s)
        yield answers
        yield from self._last_times()
        unknown = CounterMetricFamily(
            "weir_xds_unknown_types",
            "Requests for a type that the fleet's snapshot does not have.",
            labels=("fleet",),
        )
        for fleet, number in sorted(counts.unknown_types.items()):
            unknown.add_metric((fleet,), number)
        yield unknown
        refused = CounterMetricFamily(
            "weir_xds_streams_refused", "Streams that we refused or ended.", labels=("code",)
        )
        for code, number in sorted(counts.refused.items()):
            refused.add_metric((code,), number)
        yield refused
        yield CounterMetricFamily("weir_xds_connects", "Streams accepted.", value=counts.connects)

    def _files(self) -> Iterator[Metric]:
        expiry = GaugeMetricFamily(
            "weir_xds_certificate_expiry_seconds",
            "Seconds until the certificate that is served expires; negative once it has.",
        )
        refused = GaugeMetricFamily(
            "weir_xds_credentials_refused",
            "1 while files of certificates or keys are refused and the last good ones stay.",
            labels=("files",),
        )
        taken = CounterMetricFamily(
            "weir_xds_credentials_reloads",
            "Changes of files of certificates or keys that took force.",
            labels=("files",),
        )
        for one in self._server.files:
            if one.what == "tls":
                expiry.add_metric((), one.value.expires_at_s - self._wall_clock())
            refused.add_metric((one.what,), bool(one.problem))
            taken.add_metric((one.what,), one.taken)
        yield from (expiry, refused, taken)

    def _last_times(self) -> Iterator[Metric]:
        """As Unix times, so that the age of the last ACK is `time() - ...` in a query."""
        families = {
            "pushed_at_s": ("weir_xds_last_push_timestamp_seconds", "Time of the last response."),
            "acked_at_s": ("weir_xds_last_ack_timestamp_seconds", "Time of the last ACK."),
            "nacked_at_s": ("weir_xds_last_nack_timestamp_seconds", "Time of the last NACK."),
        }
        epoch_s = time.time() - time.monotonic()
        for field, (name, text) in families.items():
            family = GaugeMetricFamily(name, text, labels=("fleet", "type"))
            for (fleet, kind), one in sorted(self._server.counts.by_type.items()):
                at_s = getattr(one, field)
                if at_s is not None:
                    family.add_metric((fleet, kind), epoch_s + at_s)
            yield family


class _Tally:
    """How the streams of a fleet stand with a type."""

    __slots__ = ("behind", "pending_s", "refused_s", "refusing", "states")

    def __init__(self) -> None:
        self.states = dict.fromkeys(State, 0)
        self.behind = self.refusing = 0
        self.pending_s = self.refused_s = 0.0
        """The longest of all."""

    def add(self, one: TypeStatus, for_s: float) -> None:
        """A stream, and for how long it has been in its state."""
        self.states[state_of(one)] += 1
        self.behind += one.acked_version != one.sent_version
        if one.nack:
            self.refusing += 1
            self.refused_s = max(self.refused_s, for_s)
        if one.waiting:
            self.pending_s = max(self.pending_s, for_s)


def _filled(family: GaugeMetricFamily, values: Mapping[tuple[str, str], int]) -> Metric:
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


class _Longest:
    """The longest of some times, by labels."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._family = GaugeMetricFamily(name, text, labels=labels)
        self._longest: dict[tuple[str, ...], float] = {}

    def add(self, where: tuple[str, ...], seconds: float) -> None:
        """One of the times."""
        self._longest[where] = max(self._longest.get(where, 0.0), seconds)

    def family(self) -> Metric:
        """All of them."""
        for labels, seconds in sorted(self._longest.items()):
            self._family.add_metric(labels, seconds)
        return self._family


class StagedCollector(Collector):
    """Pushes in stages, on /metrics. Only where they are configured."""

    def __init__(self, staged: StagedSink) -> None:
        self._staged = staged

    def describe(self) -> Iterator[Metric]:
        """Nothing is read while registering."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """All families, in the order of docs/metrics.md."""
        share = GaugeMetricFamily(
            "weir_xds_stage_share",
            "Share of the fleet that has a change which the rest has not; 0: no push is on.",
            labels=("fleet",),
        )
        for fleet in self._staged.fleets:
            share.add_metric((fleet,), self._staged.share(fleet))
        yield share
        ended = CounterMetricFamily(
            "weir_xds_staged_pushes", "Pushes in stages that ended.", labels=("outcome",)
        )
        for outcome in Outcome:
            ended.add_metric((outcome.value,), self._staged.outcomes[outcome])
        yield ended
