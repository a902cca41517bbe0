"""xDS health: do Envoys run what they should."""

from __future__ import annotations

from deploy.grafana.board import PLACE, Board, Kind, Row, lines, number
from deploy.grafana.traffic import rate

BOARD = Board(
    uid="weir-xds",
    title="Weir / xDS health",
    what="Streams, pushes, refusals, by fleet and resource type. Which Envoy it is: "
    "weir proxy-status.",
    rows=(
        Row(
            "Now",
            (
                number(
                    "Streams",
                    "Open xDS streams.",
                    f"sum(weir_xds_streams{{{PLACE}}})",
                ),
                number(
                    "Not in sync",
                    "Envoys times types that do not run what they should.",
                    f'sum(weir_xds_streams_in_state{{{PLACE},state!="synced"}}) or vector(0)',
                    warn=1,
                    alarm=10,
                ),
                number(
                    "Longest refusal",
                    "How long an Envoy has refused what it should run. Its reason is in "
                    "weir proxy-status.",
                    f"max(weir_xds_refused_seconds{{{PLACE}}})",
                    unit="s",
                    warn=1,
                    alarm=60,
                ),
                number(
                    "Longest wait",
                    "How long a response has been without an answer.",
                    f"max(weir_xds_pending_seconds{{{PLACE}}})",
                    unit="s",
                    warn=10,
                    alarm=60,
                ),
            ),
        ),
        Row(
            "Streams",
            (
                lines(
                    "By state",
                    "synced: runs what it should; stale: not yet, or not any more; not_sent: "
                    "nothing was sent yet.",
                    (
                        f"sum by (type, state) (weir_xds_streams_in_state{{{PLACE}}})",
                        "{{type}} {{state}}",
                    ),
                ),
                lines(
                    "By fleet",
                    "Open xDS streams; mode: the whole state at each time, or deltas.",
                    (f"sum by (fleet, mode) (weir_xds_streams{{{PLACE}}})", "{{fleet}} {{mode}}"),
                    kind=Kind.AREA,
                ),
                lines(
                    "Connects",
                    "Streams accepted each second. Envoys that come and go, or a balancer that "
                    "cuts connections.",
                    (f"sum({rate('weir_xds_connects_total', PLACE)})", "accepted"),
                ),
            ),
        ),
        Row(
            "Pushes",
            (
                lines(
                    "Responses",
                    "Sent each second, by type.",
                    (f"sum by (type) ({rate('weir_xds_pushes_total', PLACE)})", "{{type}}"),
                ),
                lines(
                    "Bytes",
                    "Sent each second, by type.",
                    (f"sum by (type) ({rate('weir_xds_pushed_bytes_total', PLACE)})", "{{type}}"),
                    unit="Bps",
                ),
                lines(
                    "Answers",
                    "ACKs, and refusals (NACKs).",
                    (f"sum by (type) ({rate('weir_xds_acks_total', PLACE)})", "{{type}} ACK"),
                    (f"sum by (type) ({rate('weir_xds_nacks_total', PLACE)})", "{{type}} NACK"),
                ),
                lines(
                    "Mean time to an answer",
                    "From a response to its ACK or NACK.",
                    (
                        f"sum by (type) ({rate('weir_xds_answer_seconds_total', PLACE)}) / "
                        f"(sum by (type) ({rate('weir_xds_acks_total', PLACE)}) + "
                        f"sum by (type) ({rate('weir_xds_nacks_total', PLACE)}) > 0)",
                        "{{type}}",
                    ),
                    unit="s",
                ),
            ),
        ),
        Row(
            "What Envoys send us",
            (
                lines(
                    "Access log entries",
                    "Read each second, and those that are of nothing that is declared.",
                    (f"sum({rate('weir_telemetry_log_entries_total', PLACE)})", "read"),
                    (
                        f"sum({rate('weir_telemetry_unknown_log_entries_total', PLACE)})",
                        "unknown",
                    ),
                ),
                lines(
                    "Load reports",
                    "Read each second.",
                    (f"sum({rate('weir_telemetry_load_reports_total', PLACE)})", "read"),
                ),
                lines(
                    "Streams of telemetry",
                    "Open streams of access logs and of load reports.",
                    (f"sum by (service) (weir_telemetry_streams{{{PLACE}}})", "{{service}}"),
                ),
                lines(
                    "Refused or ended by us",
                    "Streams each second, by reason: too many, garbage, not let in.",
                    (
                        "sum by (service, reason) "
                        f"({rate('weir_telemetry_streams_closed_total', PLACE)})",
                        "{{service}} {{reason}}",
                    ),
                    (
                        f"sum by (code) ({rate('weir_xds_streams_refused_total', PLACE)})",
                        "xds {{code}}",
                    ),
                    steady=True,
                ),
            ),
        ),
    ),
)
