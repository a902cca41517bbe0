from __future__ import annotations

import json

import pytest

from controlplane.lab.orca import LoadReport


def test_it_tells_the_newest_whole_window() -> None:
    report = LoadReport(workers=4, now_s=100.0)
    report.busy(2, 100.0)
    report.ended(100.3, failed=False)
    report.ended(100.4, failed=True)
    report.busy(4, 100.5)
    assert report.rps == 0.0  # no window is over
    report.advance(101.0)
    assert report.utilisation == pytest.approx((2 * 0.5 + 4 * 0.5) / 4)
    assert (report.rps, report.eps) == (2.0, 1.0)


def test_windows_in_which_nothing_began_or_ended_keep_who_was_busy() -> None:
    report = LoadReport(workers=2, now_s=0.0)
    report.busy(1, 0.2)
    report.ended(0.5, failed=False)
    report.advance(7.3)
    assert report.utilisation == pytest.approx(0.5)
    assert report.rps == 0.0
    report.ended(7.5, failed=False)
    report.advance(8.0)
    assert report.utilisation == pytest.approx(0.5)
    assert report.rps == 1.0


def test_the_integral_is_that_of_the_busy_workers_whenever_it_is_looked_at() -> None:
    """Looked at often or seldom, the same course gives the same reports."""
    changes = [(0.17 * i, (5 * i) % 4) for i in range(40)]
    seldom, often = (LoadReport(workers=3, now_s=0.0) for _ in range(2))
    told = []
    for at, busy in changes:
        seldom.busy(busy, at)
        for k in range(5):
            often.advance(at - 0.17 + 0.034 * k)
        often.busy(busy, at)
        told.append((seldom.utilisation, often.utilisation))
    assert all(one == pytest.approx(two) for one, two in told)
    assert len({round(one, 3) for one, _ in told}) > 3


def test_the_header_is_one_line_that_envoy_reads_as_json() -> None:
    report = LoadReport(workers=1, now_s=0.0)
    name, _, value = report.header().partition(b": ")
    assert name == b"endpoint-load-metrics"
    assert b"\r" not in value
    assert value.startswith(b"JSON ")
    assert set(json.loads(value[5:])) == {"application_utilization", "rps_fractional", "eps"}
