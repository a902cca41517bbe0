"""The results of `data_path` as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.path_load import Shares

TITLES = {
    "direct": ("no Envoy", "HTTP/1.1"),
    "minimal": ("by hand: minimal", "HTTP/1.1"),
    "plain": ("Weir: plain", "HTTP/1.1"),
    "minimal-tls": ("by hand: minimal, TLS", "TLS, HTTP/2"),
    "tls": ("Weir: plain + TLS", "TLS, HTTP/2"),
    "tokens": ("Weir: + JWT", "TLS, HTTP/2"),
    "limits": ("Weir: + local limits", "TLS, HTTP/2"),
    "careful": ("Weir: careful (+ breakers, retries)", "TLS, HTTP/2"),
    "careful-by-hand": ("by hand: careful", "TLS, HTTP/2"),
}
RATIOS = (
    ("plain", "minimal", 0.95),
    ("careful", "minimal", 0.75),
    ("careful", "minimal-tls", None),
    ("careful", "careful-by-hand", None),
    ("tls", "minimal-tls", None),
    ("careful-by-hand", "minimal-tls", None),
    ("tokens", "tls", None),
    ("limits", "tokens", None),
    ("careful", "limits", None),
)
"""Of requests for each CPU second: a lane, another, and what is wanted."""


@dataclass(frozen=True, slots=True)
class Result:
    """All that was measured."""

    when: str
    machine: str
    command: str
    rounds: int
    slice_s: float
    before: Shares
    throughput: Shares
    latency: Shares
    slices: Mapping[str, Sequence[Mapping[str, Any]]]
    connected_us: Mapping[str, Sequence[float]]
    half_rps: int
    latencies_ms: Mapping[str, Sequence[tuple[float, float]]]

    def per_cpu_s(self, lane: str) -> np.ndarray[Any, Any]:
        """Of each round."""
        return np.array([one["requests"] / one["cpu_s"] for one in self.slices[lane]])

    def ratios(self, lane: str, other: str) -> np.ndarray[Any, Any]:
        """Of each round."""
        ratios: np.ndarray[Any, Any] = self.per_cpu_s(lane) / self.per_cpu_s(other)
        return ratios


def markdown(result: Result) -> str:
    """The page."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield "# What the data path costs"
    yield ""
    yield f"By `{result.command.strip()}`, {result.when}, {result.machine}."
    yield f"{result.rounds} rounds of {result.slice_s:g} s for each lane, in turn."
    yield from _quiet(result)
    yield ""
    yield (
        "| lane | client | requests / CPU second, median (least to most) | CPU µs a request "
        "| requests / s, one core | access logs, % |"
    )
    yield "|---|---|---|---|---|---|"
    yield from _throughput(result)
    yield ""
    yield "| requests / CPU second, lane to lane, of each round | median | least to most | wanted |"
    yield "|---|---|---|---|"
    for lane, other, wanted in RATIOS:
        found = result.ratios(lane, other)
        aim = "" if wanted is None else f"{wanted:.2f}"
        yield (
            f"| {TITLES[lane][0]} to {TITLES[other][0]} | {np.median(found):.3f} "
            f"| {found.min():.3f} to {found.max():.3f} | {aim} |"
        )
    yield ""
    yield f"Open loop, {result.half_rps} requests a second (half of what the minimal lane takes):"
    yield ""
    yield "| lane | client | p50 ms (least to most) | p99 ms (least to most) | added to direct |"
    yield "|---|---|---|---|---|"
    yield from _latency(result)
    yield ""
    yield from _on_paper(result)


def _quiet(result: Result) -> Iterator[str]:
    parts = {"before": result.before, "load": result.throughput, "latency": result.latency}
    told = ", ".join(
        f"{name}: {one.others:.0%} others, {one.stolen:.0%} stolen" for name, one in parts.items()
    )
    yield f"Of all cores, {told}."
    if not (result.before.quiet and result.latency.quiet):
        yield ""
        yield "**The machine was busy with other things: do not believe the latencies.**"


def _throughput(result: Result) -> Iterator[str]:
    for lane, slices in result.slices.items():
        title, client = TITLES[lane]
        found = result.per_cpu_s(lane)
        a_second = np.median([one["requests"] / one["wall_s"] for one in slices])
        sampled = [one["sampled_percent"] for one in slices if one["sampled_percent"] is not None]
        told = f"{np.median(sampled):.3g}" if sampled else ""
        each = f"{np.median(found):.0f} ({found.min():.0f} to {found.max():.0f})"
        cost = f"{1e6 / np.median(found):.1f} | {a_second:.0f} | {told}"
        yield f"| {title} | {client} | {each} | {cost} |"


def _latency(result: Result) -> Iterator[str]:
    direct = np.median(np.array(result.latencies_ms["direct"]), axis=0)
    for lane, rows in result.latencies_ms.items():
        title, client = TITLES[lane]
        found = np.array(rows)
        p50, p99 = np.median(found, axis=0)
        (low50, low99), (high50, high99) = found.min(axis=0), found.max(axis=0)
        added = "" if lane == "direct" else f"{p50 - direct[0]:.2f} / {p99 - direct[1]:.2f}"
        yield (
            f"| {title} | {client} | {p50:.2f} ({low50:.2f} to {high50:.2f}) "
            f"| {p99:.2f} ({low99:.2f} to {high99:.2f}) | {added} |"
        )


# What is wanted of a fleet, for the last table.
RATE_RPS = 100_000
REQUESTS_A_CONNECTION = 20
WORKERS = 4
LOAD = 0.5
ZONES = 3


def _on_paper(result: Result) -> Iterator[str]:
    yield f"On paper, {RATE_RPS:,} requests a second, {REQUESTS_A_CONNECTION} on each connection,"
    yield f"Envoys with {WORKERS} workers that are at {LOAD:.0%} when one of {ZONES} zones is gone:"
    yield ""
    yield "| lane | cores busy: requests | connections | in all | Envoys | cores |"
    yield "|---|---|---|---|---|---|"
    for lane, opened in (("plain", "plain"), ("careful", "tls")):
        requests = RATE_RPS / float(np.median(result.per_cpu_s(lane)))
        a_request_us = 1e6 / float(np.median(result.per_cpu_s(opened)))
        extra_us = max(0.0, float(np.median(result.connected_us[opened])) - a_request_us)
        connections = RATE_RPS / REQUESTS_A_CONNECTION * extra_us / 1e6
        busy = requests + connections
        in_a_zone = math.ceil(busy / LOAD / WORKERS / (ZONES - 1))
        yield (
            f"| {TITLES[lane][0]} | {requests:.1f} | {connections:.1f} | {busy:.1f} "
            f"| {in_a_zone} in each of {ZONES} zones | {in_a_zone * ZONES * WORKERS} |"
        )
