"""Whatever bytes come: they are counted, or refused as garbage; nothing else."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.errors import TelemetryError
from controlplane.observe.in_process import InProcessSource
from tests.unit.observe.messages import (
    PROXY,
    Clock,
    cluster_stats,
    endpoint_stats,
    entry,
    logs,
    report,
    service,
)

LOGS = logs(entry(), entry("10.0.0.2", code=503, flags={"upstream_remote_reset": True}))
REPORT = report(
    cluster_stats(
        endpoint_stats(succeeded=5, in_progress=2, metrics={"cpu_utilization": (5, 2.0)}),
        endpoint_stats("10.0.0.2", failed=3),
    )
)


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes) -> bytes:
    """A real message with some bytes changed and perhaps its end cut off."""
    made = bytearray(whole)
    for at in draw(st.lists(st.integers(0, len(made) - 1), max_size=6)):
        made[at] = draw(st.integers(0, 255))
    return bytes(made[: draw(st.integers(1, len(made)))])


@given(
    st.lists(st.one_of(st.binary(max_size=200), spoiled(LOGS)), max_size=5),
    st.lists(st.one_of(st.binary(max_size=200), spoiled(REPORT)), max_size=5),
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_counted_or_refused(many_logs: list[bytes], reports: list[bytes]) -> None:
    clock = Clock()
    source = InProcessSource(clock)
    source.declare([service()])
    refused = 0
    for message in many_logs:
        try:
            source.access_logs.on_access_logs(PROXY, message)
        except TelemetryError:
            refused += 1
    for message in reports:
        with contextlib.suppress(TelemetryError):
            source.load_reports.on_load_report(PROXY, message, first=False)
            continue
        refused += 1
    assert source.receipts.garbage == refused
    clock.now_s += 1.0
    for look in asyncio.run(source.observe([service()])).values():
        for numbers in (look.succeeded, look.failed, look.in_flight, look.latency_samples):
            assert not (numbers < 0).any()
            assert not np.isinf(numbers).any()
        assert not (look.latency_s <= 0).any()
        assert 0.0 <= look.coverage <= 1.0
        assert look.window_s > 0
    assert source.latency_histograms()
    assert list(source.collector.collect())
