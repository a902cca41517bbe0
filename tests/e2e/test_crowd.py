"""A crowd right after a quiet time: what a split that suits the quiet would flood.

Weir and FULL_SCAN are played side by side under the same requests. The crowd asks for more than the
fast class has and for most of what there is; an answer that takes too long is an error.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.lab.backends import BackendSpec, run_backends
from controlplane.lab.lanes import run_lane
from controlplane.lab.load import play
from controlplane.lab.scenarios import FLASH_CROWD, stage
from controlplane.lab.stock import FULL_SCAN
from controlplane.lab.weir import run_weir_lane

pytestmark = pytest.mark.envoy

ENVOYS = 4
RATE_RPS = 200.0
DURATION_S = 25.0
WARMUP_S = 10.0
ANSWER_IN_S = 4.0


async def test_a_crowd_after_quiet_costs_no_error_that_full_scan_would_not_have(
    tmp_path: Path,
) -> None:
    acts = stage(
        FLASH_CROWD,
        seed=3,
        duration_s=DURATION_S,
        envoys=ENVOYS,
        rate_rps=RATE_RPS,
        warmup_s=WARMUP_S,
    )
    lanes = ("weir", "full_scan")
    specs: tuple[BackendSpec, ...] = FLASH_CROWD.backends
    async with (
        run_backends(specs, tmp_path, lanes=lanes) as backends,
        run_lane(FULL_SCAN, backends.ports["full_scan"], tmp_path, envoys=ENVOYS) as scan,
        run_weir_lane(backends.ports["weir"], tmp_path, envoys=ENVOYS, policy="model") as (weir, _),
    ):
        played = await play(
            acts.schedule,
            {lane.name: lane.ports for lane in (weir, scan)},
            tmp_path,
            backends=backends,
            deadline_s=ANSWER_IN_S,
        )
    ours, theirs = played.lanes["weir"], played.lanes["full_scan"]
    quiet, crowd = ours.between(0.0, 0.4 * DURATION_S), ours.between(0.4 * DURATION_S, DURATION_S)
    assert crowd.requests > 2 * quiet.requests
    assert ours.errors <= theirs.errors, (ours.outcomes(), theirs.outcomes())
