"""Where the reports of our Envoys go: to the replica that decides, or, where there is none, here.

Each is counted by one replica, so that what all of them have on /metrics adds up.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from controlplane._pb import access_log_pb2, load_stats_pb2
from controlplane.errors import TelemetryError
from controlplane.model import Proxy
from controlplane.ports import AccessLogSink, LoadReportSink
from controlplane.replicas.follower import Follower
from controlplane.replicas.messages import AccessLogs, LoadReport
from controlplane.replicas.metrics import ReplicaMetrics


class Handing:
    """An `AccessLogSink` and a `LoadReportSink`."""

    def __init__(
        self,
        access_logs: AccessLogSink,
        load_reports: LoadReportSink,
        metrics: ReplicaMetrics,
        follower: Follower,
    ) -> None:
        self._access_logs = access_logs
        self._load_reports = load_reports
        self._metrics = metrics
        self._follower = follower

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """Raises `TelemetryError`, whoever takes it."""
        if self._follower.live:
            try:
                access_log_pb2.StreamAccessLogsMessage.FromString(message)
            except DecodeError as error:
                raise TelemetryError(f"not a StreamAccessLogsMessage: {error}") from error
            if self._handed(AccessLogs(proxy, message)):
                return
        self._access_logs.on_access_logs(proxy, message)

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """Raises `TelemetryError`, whoever takes it."""
        if self._follower.live:
            try:
                load_stats_pb2.LoadStatsRequest.FromString(message)
            except DecodeError as error:
                raise TelemetryError(f"not a LoadStatsRequest: {error}") from error
            if self._handed(LoadReport(proxy, message, first)):
                return
        self._load_reports.on_load_report(proxy, message, first=first)

    def _handed(self, report: AccessLogs | LoadReport) -> bool:
        posted = self._follower.post(report)
        (self._metrics.handed if posted else self._metrics.kept).inc()
        return posted


class Both:
    """Reports go to several: an `AccessLogSink` and a `LoadReportSink`."""

    def __init__(
        self, access_logs: Sequence[AccessLogSink], load_reports: Sequence[LoadReportSink]
    ) -> None:
        self._access_logs = tuple(access_logs)
        self._load_reports = tuple(load_reports)

    def on_access_logs(self, proxy: Proxy, message: bytes) -> None:
        """To each of them."""
        for sink in self._access_logs:
            sink.on_access_logs(proxy, message)

    def on_load_report(self, proxy: Proxy, message: bytes, *, first: bool) -> None:
        """To each of them."""
        for sink in self._load_reports:
            sink.on_load_report(proxy, message, first=first)
