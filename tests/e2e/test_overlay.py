"""An Envoy with a configuration of its own takes nothing but endpoints from Weir."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.stock import CLUSTER
from controlplane.translate.bootstrap import overlay_bootstrap
from tests.e2e.scene import Scene, play_scene, under_load, until, until_share, weights_in_force

pytestmark = pytest.mark.envoy

NAMES = (CLUSTER, CLUSTER.partition("/")[2])
"""`namespace/name`, and the bare name."""


def _overlays(scene: Scene) -> list[dict[str, Any]]:
    """Of some teams' Envoys: whatever node.cluster they have. One by each name and variant."""
    return [
        overlay_bootstrap(
            node_id=f"theirs-{i}",
            node_cluster=f"team-{i}",
            service=NAMES[i % 2],
            listen_port=listen,
            admin_port=admin,
            xds_port=scene.served.xds_port,
            delta=i >= 2,
        )
        for i, (listen, admin) in enumerate(zip(scene.listeners, scene.admins, strict=True))
    ]


async def test_endpoint_weights_move_in_envoys_that_keep_their_configuration(
    tmp_path: Path,
) -> None:
    async with play_scene(tmp_path, envoys=4, bootstraps=_overlays, overlay=True) as scene:
        async with under_load(scene, 120.0) as load:
            await until_share(scene, "slow", lambda share: share < 0.35)
            told = await scene.served.explain()
            assert told is not None
            assert told["actuation"] == "endpoints"
            for i, envoy in enumerate(scene.envoys):
                await until(lambda envoy=envoy, i=i: _moved(scene, envoy, i))  # type: ignore[misc]
        for envoy in scene.envoys:
            dump = json.loads(await envoy.get("/config_dump"))
            assert not [
                part
                for part in dump["configs"]
                if part.get("dynamic_active_clusters") or part.get("dynamic_listeners")
            ]
        assert load.errors == 0
        assert load.done > 0


async def _moved(scene: Scene, envoy: Any, i: int) -> bool:  # noqa: ANN401
    """Whether each fast endpoint of this Envoy has more weight than each slow one."""
    weights = await weights_in_force(envoy, NAMES[i % 2])
    slow = [weights[one] for one in scene.of_kind("slow") if one in weights]
    fast = [weights[one] for one in scene.of_kind("fast") if one in weights]
    return len(slow) == len(fast) == 2 and max(slow) < min(fast)
