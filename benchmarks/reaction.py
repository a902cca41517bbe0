"""From a backend turning slow to changed weights in force in a real Envoy, at an interval of 1 s.

One setup stays: a backend turns slow, Weir reacts, it recovers, its weight comes back to that of
its equal and stands (`waited`), and again. The clock runs from the script's event to the moment
that the Envoy's own dump shows less weight for that backend (by --drop of its share before: 2 %,
the guard's deadband, below which it calls a change noise).
With `--actuation groups` both backends of the fast class turn slow, since a group has one weight
and inside of it the Envoy's full scan reacts by itself.

    .venv/bin/python benchmarks/reaction.py --repeats 20
    .venv/bin/python benchmarks/reaction.py --repeats 20 --actuation groups
    .venv/bin/python benchmarks/reaction.py --repeats 20 --fresh

With `--fresh` Weir is killed before each episode and has to learn the backends anew.

Writes benchmarks/results/reaction_endpoints.json or reaction_groups.json, or with `_fresh`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoys are started beside gRPC

from controlplane.lab.backends import Event, Happening  # noqa: E402
from controlplane.lab.stock import CLUSTER  # noqa: E402
from tests.e2e.eds import EdsClient, recorded  # noqa: E402
from tests.e2e.scene import (  # noqa: E402
    Scene,
    play_scene,
    under_load,
    until_share,
    weights_in_force,
    weights_of,
)

RESULTS = Path(__file__).parent / "results"
LOOK_S = 0.03
STAND_S = 5.0
"""Weights that have not changed for this long stand."""


async def episode(scene: Scene, client: EdsClient, options: argparse.Namespace) -> dict[str, float]:
    """Seconds after the event, by step."""
    endpoint = f"127.0.0.1:{scene.ports[0]}"
    began_s = time.monotonic()
    await _come_back(scene, endpoint)
    await _stand(scene)
    before = _share(await weights_in_force(scene.envoys[0]), endpoint)
    # Weights stand from one tick on, and an event at the same place between two ticks each time
    # would measure that place.
    await asyncio.sleep(random.random())
    seen_before = await _latency(scene, endpoint)
    at_s = time.monotonic()
    sick = (0, 1) if options.actuation == "groups" else (0,)
    slow = [Event(0.0, i, Happening.SLOW, options.factor) for i in sick]
    await scene.backends.script(slow, at_s)
    steps = {"waited": at_s - began_s}
    enough = (1.0 - options.drop) * before
    while "in_force" not in steps:
        if time.monotonic() - at_s > 60.0:
            raise SystemExit(f"no reaction in 60 s: {json.dumps(await scene.served.explain())}")
        if "seen" not in steps and await _latency(scene, endpoint) > 1.3 * seen_before:
            steps["seen"] = time.monotonic() - at_s
        if "pushed" not in steps and _share(weights_of(client.newest.body), endpoint) <= enough:
            steps["pushed"] = time.monotonic() - at_s
        if _share(await weights_in_force(scene.envoys[0]), endpoint) <= enough:
            steps["in_force"] = time.monotonic() - at_s
        await asyncio.sleep(LOOK_S)
    await scene.backends.script([Event(0.0, i, Happening.RESTORE) for i in sick], at_s)
    return steps


async def _anew(scene: Scene) -> None:
    """Weir with nothing from before, once it has told the classes apart."""
    await scene.served.kill()
    shutil.rmtree(scene.folder / "state", ignore_errors=True)
    await scene.served.start()
    await scene.served.wait_ready()
    await until_share(scene, "slow", lambda share: share < 0.35)


async def _come_back(scene: Scene, endpoint: str, deadline_s: float = 120.0) -> None:
    """Until the endpoint, fast again, has the weight of its equal: a fall begins from there."""
    equal = f"127.0.0.1:{scene.ports[1]}"
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        weights = await weights_in_force(scene.envoys[0])
        if _share(weights, endpoint) >= 0.8 * _share(weights, equal):
            return
        await asyncio.sleep(0.2)
    raise SystemExit(f"not back in {deadline_s} s: {json.dumps(await scene.served.explain())}")


async def _stand(scene: Scene, deadline_s: float = 90.0) -> None:
    """Until weights stand, or the deadline: then what is there is what it starts from."""
    end, since = time.monotonic() + deadline_s, time.monotonic()
    weights = await weights_in_force(scene.envoys[0])
    while time.monotonic() < end and time.monotonic() - since < STAND_S:
        await asyncio.sleep(0.2)
        now = await weights_in_force(scene.envoys[0])
        if now != weights:
            weights, since = now, time.monotonic()


async def _latency(scene: Scene, endpoint: str) -> float:
    told = await scene.served.explain()
    rows = [one for one in told["endpoints"] if one["endpoint"] == endpoint] if told else []
    return float(rows[0]["latency_s"] or 0.0) if rows else 0.0


def _share(weights: dict[str, int], endpoint: str) -> float:
    """Its part of the traffic, as these weights (of locality times endpoint) give it."""
    return weights[endpoint] / sum(weights.values()) if weights else 1.0


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median_s": round(statistics.median(ordered), 3),
        "p90_s": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 3),
        "max_s": round(ordered[-1], 3),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--factor", type=float, default=4.0, help="how much slower it becomes")
    parser.add_argument("--drop", type=float, default=0.02)
    parser.add_argument("--rate", type=float, default=120.0)
    parser.add_argument("--envoys", type=int, default=3)
    parser.add_argument("--policy", default="model")
    parser.add_argument("--actuation", choices=["groups", "endpoints"], default="endpoints")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        async with (
            play_scene(Path(folder), envoys=options.envoys, policy=options.policy) as scene,
            under_load(scene, options.rate, duration_s=3600.0) as load,
            recorded(scene.served.xds_port, CLUSTER) as client,
        ):
            scene.declared_kind("BalancingPolicy")["spec"]["actuation"] = options.actuation
            scene.write()
            await until_share(scene, "slow", lambda share: share < 0.35)
            for i in range(options.repeats):
                if options.fresh and i:
                    await _anew(scene)
                found.append(await episode(scene, client, options))
                print(f"{i + 1}: {found[-1]}", file=sys.stderr, flush=True)
        errors = load.errors
    result: dict[str, Any] = {
        "what": "seconds from a backend turning slow to less weight for it in force in an Envoy",
        "options": vars(options),
        "in_force": _summary([one["in_force"] for one in found]),
        "pushed": _summary([one["pushed"] for one in found if "pushed" in one] or [0.0]),
        "seen": _summary([one["seen"] for one in found if "seen" in one] or [0.0]),
        "waited": _summary([one["waited"] for one in found[1:]] or [0.0]),
        "all": found,
        "errors": errors,
        "load_average": os.getloadavg(),
        "machine": {"cpus": os.cpu_count()},
        "command": " ".join([".venv/bin/python", "benchmarks/reaction.py", *sys.argv[1:]]),
    }
    RESULTS.mkdir(exist_ok=True)
    name = f"reaction_{options.actuation}{'_fresh' if options.fresh else ''}.json"
    (RESULTS / name).write_text(json.dumps(result, indent=2) + "\n")
    print(
        json.dumps({key: result[key] for key in ("in_force", "pushed", "seen", "waited", "errors")})
    )


if __name__ == "__main__":
    asyncio.run(main())
