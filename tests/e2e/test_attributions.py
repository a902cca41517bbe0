"""A running Weir says which features moved the learned policy, of the very tick that it shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.e2e.scene import play_scene, under_load, verb
from tests.e2e.test_faults import RATE_RPS, _admin, _ticks

pytestmark = pytest.mark.envoy


async def test_what_moved_the_learned_policy_is_told_of_a_real_decision(tmp_path: Path) -> None:
    playing = play_scene(tmp_path, policy="learned", envoys=1)
    async with playing as scene, under_load(scene, RATE_RPS):
        await _ticks(scene, 4)
        asked = ("weights", "explain", "demo", "--attributions", "--admin-address")
        told = json.loads(await verb(*asked, _admin(scene), "-o", "json"))
        table = await verb(*asked, _admin(scene))
    assert told["policy"] == "learned"
    found = told["attributions"]
    assert found["why_not"] is None
    by_name = {one["group"]: one for one in told["groups"]}
    assert {one["group"] for one in found["groups"]} == set(by_name)
    for one in found["groups"]:
        group = by_name[one["group"]]
        moved = math.log(group["proposed"] / group["base"])
        effects = sum(row["effect"] for row in one["features"])
        assert one["moved"] == pytest.approx(moved, abs=1e-4)
        assert effects + one["unexplained"] == pytest.approx(moved, abs=1e-4)
        assert abs(one["unexplained"]) < 0.01
    assert "of the base's share" in table
