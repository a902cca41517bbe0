"""Learning: where the learned policy acts, how far it goes from its base, what the guard thinks."""

from __future__ import annotations

from deploy.grafana.board import PLACE, SERVICE, Board, Kind, Row, lines, number
from deploy.grafana.traffic import mean_latency, quantile, rate

BOARD = Board(
    uid="weir-learning",
    title="Weir / Learning",
    what="Who decides, how far `learned` moves from its base, and what is held back. What a "
    "decision went by: weir weights explain --attributions.",
    by_service=True,
    rows=(
        Row(
            "Who decides",
            (
                number(
                    "Learned",
                    "Part of the services whose last proposal is of the learned policy.",
                    f'sum(weir_service_policy{{{PLACE},policy="learned"}}) / '
                    f"sum(weir_service_policy{{{PLACE}}})",
                    unit="percentunit",
                ),
                lines(
                    "Services by policy",
                    "Of the last decision. Where one falls to a fallback its lines change places.",
                    (
                        f"sum by (policy) (max by (service, policy) "
                        f"(weir_service_policy{{{PLACE}}}))",
                        "{{policy}}",
                    ),
                    kind=Kind.AREA,
                ),
                lines(
                    "Time to decide",
                    "All services that were due; inference is in it.",
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(weir_tick_stage_seconds_bucket"
                        f'{{{PLACE},stage="decide"}}[$__rate_interval])))',
                        "p99",
                    ),
                    unit="s",
                ),
            ),
        ),
        Row(
            "How far it goes",
            (
                lines(
                    "Moved by the policy",
                    "Part of the requests that goes elsewhere than the base would have it. The "
                    "ten largest.",
                    (
                        "topk(10, max by (service) "
                        f'(weir_service_moved_share{{{SERVICE},by="policy"}}))',
                        "{{service}}",
                    ),
                    unit="percentunit",
                ),
                lines(
                    "Held back by the guard",
                    "Part of the requests that goes elsewhere than was proposed. For long and "
                    "much: the policy wants what is not safe; docs/guard.md.",
                    (
                        "topk(10, max by (service) "
                        f'(weir_service_moved_share{{{SERVICE},by="guard"}}))',
                        "{{service}}",
                    ),
                    unit="percentunit",
                ),
                lines(
                    "Reasons",
                    "Services by the reasons of their last decision.",
                    (
                        "sum by (code) (max by (service, code) "
                        f"(weir_service_reason{{{SERVICE}}}))",
                        "{{code}}",
                    ),
                ),
            ),
        ),
        Row(
            "What comes of it",
            (
                lines(
                    "Mean latency",
                    "Of requests that succeeded.",
                    (mean_latency(), "{{service}}"),
                    unit="s",
                ),
                lines(
                    "99th percentile",
                    "Of requests that succeeded.",
                    (quantile(0.99), "{{service}}"),
                    unit="s",
                ),
                lines(
                    "Changes of weights",
                    "Each second. A policy that moves for ever finds no rest.",
                    (f"sum({rate('weir_weights_changed_total', PLACE)})", "changes"),
                ),
            ),
        ),
    ),
)
