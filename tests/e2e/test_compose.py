"""docker-compose.yml without an engine: its commands as processes, each in a network of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.compose.rehearse import rehearse

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.prometheus,
    pytest.mark.skipif(os.geteuid() != 0, reason="networks of their own want root"),
]


def test_all_services_start_as_written_find_one_another_and_are_seen(tmp_path: Path) -> None:
    seen = rehearse(("watch", "limits"), 2.0, tmp_path)
    failed = [name for name, passed in seen.checks.items() if not passed]
    assert failed == []
    assert {"weir", "envoy-1", "envoy-2", "envoy-3", "load", "prometheus"} <= set(seen.services)
    assert set(seen.left_out) <= {"grafana", "alertmanager", "redis"}
    assert "grafana" in seen.left_out
