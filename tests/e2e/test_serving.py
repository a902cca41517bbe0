"""An Envoy that does not serve: the lab says which, what it answered, and what it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import StartupError
from controlplane.lab.lanes import run_envoys, wait_serving
from controlplane.lab.ports import free_ports
from controlplane.lab.stock import ROUND_ROBIN, static_bootstrap

pytestmark = pytest.mark.envoy


async def test_an_envoy_without_backends_is_told_with_its_last_answer(tmp_path: Path) -> None:
    listener, admin, nobody = free_ports(3)
    made = static_bootstrap(ROUND_ROBIN, [nobody], listener_port=listener, admin_port=admin)
    async with run_envoys([made], tmp_path, name="alone") as envoys:
        with pytest.raises(StartupError) as told:
            await wait_serving([listener], envoys, deadline_s=0.2)
    assert f"port {listener} did not serve" in str(told.value)
    assert "503 Service Unavailable" in str(told.value)
    assert "membership_total': 1" in str(told.value)


async def test_a_port_that_nobody_opened_is_told_as_such() -> None:
    (nobody,) = free_ports(1)
    with pytest.raises(StartupError, match=rf"port {nobody} did not serve .*Connect call failed"):
        await wait_serving([nobody], deadline_s=0.2)
