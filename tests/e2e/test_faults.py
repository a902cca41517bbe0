"""What goes wrong around a running Weir: documents, endpoints, policies, backends, people."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.decision_files import DecisionFiles
from controlplane.lab.backends import Event, Happening
from controlplane.lab.weir import WeirServe
from controlplane.model.features import FEATURES
from tests.e2e.scene import (
    Scene,
    play_scene,
    under_load,
    until,
    until_share,
    verb,
    weights_in_force,
)

pytestmark = pytest.mark.envoy

RATE_RPS = 100.0


async def test_documents_that_change_or_break_while_serving(tmp_path: Path) -> None:
    async with play_scene(tmp_path) as scene, under_load(scene, RATE_RPS) as load:
        await until_share(scene, "slow", lambda share: share < 0.35)
        good = copy.deepcopy(scene.declared)
        config = scene.served.config

        # A value that cannot be: refused with file, line and field; the last valid one stays.
        scene.declared_kind("Backend")["spec"]["endpoints"][0]["ip"]["port"] = "eighty"
        scene.write()
        (problem,) = await until(scene.problems)
        lines = (config / "demo.yaml").read_text().splitlines()
        assert problem["file"].endswith("demo.yaml")
        assert "eighty" in lines[problem["line"] - 1]
        assert problem["field"] == "spec.endpoints[0].ip.port"
        assert set(await scene.shares()) == set(_endpoints(scene))

        # Text that is no YAML at all.
        (config / "demo.yaml").write_text("kind: [Gateway\n")
        await until(lambda: _one_problem(scene, "demo.yaml", not_field="spec.endpoints[0].ip.port"))
        assert set(await scene.shares()) == set(_endpoints(scene))

        # Put right: applied without a restart.
        scene.declared = copy.deepcopy(good)
        scene.write()
        await until(lambda: _no_problem(scene))

        # A policy that nobody has installed: said, and the one in force stays in force.
        scene.declared_kind("BalancingPolicy")["spec"]["policy"] = "modle"
        scene.write()
        (problem,) = await until(scene.problems)
        assert problem["field"] == "spec.policy"
        assert "modle" in problem["message"]
        assert "model" in problem["advice"]
        told = await scene.served.explain()
        assert told is not None
        assert told["policy"] == "model"

        # An endpoint taken out leaves at once, in every Envoy.
        scene.declared = copy.deepcopy(good)
        scene.declared_kind("Backend")["spec"]["endpoints"].pop()
        gone, left = _endpoints(scene)[-1], set(_endpoints(scene)[:-1])
        scene.write()
        for envoy in scene.envoys:
            await until(lambda envoy=envoy: _has(envoy, left))  # type: ignore[misc]
        assert gone not in await scene.shares()

        # The file under another name: the same documents, so the same endpoints.
        (config / "demo.yaml").rename(config / "renamed.yaml")
        (config / "renamed.yaml").write_text(
            (config / "renamed.yaml").read_text() + "---\nkind: Nonsense\n"
        )
        await until(lambda: _one_problem(scene, "renamed.yaml"))
        assert set(await scene.shares()) == left
    assert load.errors == 0
    assert load.done > 0
    assert scene.served.process is not None
    assert "Traceback" not in scene.served.log.read_text()


async def test_the_kill_switch_holds_weights_until_a_person_lets_go(tmp_path: Path) -> None:
    decisions = tmp_path / "decisions"
    options = ("--decision-log", str(decisions))
    async with play_scene(tmp_path, options=options) as scene, under_load(scene, RATE_RPS) as load:
        await until_share(scene, "slow", lambda share: share < 0.35)
        await verb("freeze", "-r", "a test", "--admin-address", _admin(scene))
        assert "a test" in (await until(lambda: _reason(scene, "frozen")))
        before = [await weights_in_force(envoy) for envoy in scene.envoys]
        await _slow_down_the_fast(scene)
        await _ticks(scene, 5)
        assert [await weights_in_force(envoy) for envoy in scene.envoys] == before
        await verb("resume", "--admin-address", _admin(scene))
        held = await scene.share_of("slow")
        await until_share(scene, "slow", lambda share: share > held + 0.05)

        # By file, as when nobody answers at the address.
        state = str(tmp_path / "state")
        await verb("freeze", "demo", "--state-dir", state)
        await until(lambda: _reason(scene, "frozen"))
        before = [await weights_in_force(envoy) for envoy in scene.envoys]
        await _ticks(scene, 4)
        assert [await weights_in_force(envoy) for envoy in scene.envoys] == before
        await verb("resume", "demo", "--state-dir", state)
        await until(lambda: _let_go(scene))
    assert load.errors == 0
    log = scene.served.log.read_text()
    for told in ("frozen: all services", "resumed: all services", "demo", "a test"):
        assert told in log
    # What was decided by what the Envoys told, and what was in force of it.
    records = list(DecisionFiles(decisions).records())
    frozen = [one for one in records if "frozen" in one.reasons]
    assert {one.groups for one in records} == {("fast", "slow")}
    assert len({one.in_force for one in frozen}) == 2
    assert len({one.in_force for one in records}) > 4
    assert all(one.outcome.latency_s for one in frozen)


async def test_a_backend_that_fails_fast_does_not_gain(tmp_path: Path) -> None:
    async with play_scene(tmp_path) as scene, under_load(scene, RATE_RPS):
        lying = f"127.0.0.1:{scene.ports[0]}"
        before = (await _settled(scene))[lying]
        taken_before = await _part_of_arrivals(scene, 0)
        await scene.backends.script([Event(0.0, 0, Happening.FAIL, 1.0)], 0.0)
        highest = 0.0
        for _ in range(10):
            await _ticks(scene, 1)
            highest = max(highest, (await scene.shares())[lying])
        taken = await _part_of_arrivals(scene, 0)
    assert highest <= 1.05 * before
    assert taken < 1.05 * taken_before


@pytest.mark.parametrize("damage", ["digest", "bytes"])
async def test_a_damaged_model_is_refused_and_the_fallback_decides(
    tmp_path: Path, damage: str
) -> None:
    released = tmp_path / "released"
    _damaged_release(released, damage)
    options = ("--model-dir", str(released))
    async with play_scene(tmp_path, policy="learned", envoys=1, options=options) as scene:
        async with under_load(scene, RATE_RPS) as load:
            await _ticks(scene, 3)
            out = await verb(
                *("weights", "explain", "demo", "-o", "json", "--admin-address", _admin(scene))
            )
        told = json.loads(out)
        reasons = {one["code"]: one["text"] for one in told["reasons"]}
        assert told["policy"] == "model"
        assert "fallback" in reasons
        assert "model.onnx" in reasons["policy_refused"]
        assert ("digest" if damage == "digest" else "not a model") in reasons["policy_refused"]
        assert load.errors == 0


async def test_a_port_that_is_taken_is_said_in_words(tmp_path: Path) -> None:
    first, second = WeirServe(tmp_path / "a"), WeirServe(tmp_path / "b")
    try:
        await first.start()
        await first.wait_ready()
        second.xds_port = first.xds_port
        assert await _ends(second) == 1
        assert str(first.xds_port) in second.tail()
        assert "taken" in second.tail()
        assert "Traceback" not in second.tail()
        third = WeirServe(tmp_path / "c")
        third.admin_port = first.admin_port
        assert await _ends(third) == 1
        assert str(first.admin_port) in third.tail()
        assert "Traceback" not in third.tail()
    finally:
        await first.stop()
        await second.kill()


def _endpoints(scene: Scene) -> list[str]:
    return [f"127.0.0.1:{port}" for port in scene.ports]


def _admin(scene: Scene) -> str:
    return f"127.0.0.1:{scene.served.admin_port}"


async def _ends(served: WeirServe) -> int:
    await served.start()
    assert served.process is not None
    async with asyncio.timeout(60):
        return await served.process.wait()


async def _no_problem(scene: Scene) -> bool:
    return not await scene.problems()


async def _one_problem(scene: Scene, file: str, not_field: str = "-") -> bool:
    found = await scene.problems()
    return any(one["file"].endswith(file) and one["field"] != not_field for one in found)


async def _has(envoy: Any, endpoints: set[str]) -> bool:  # noqa: ANN401
    return set(await weights_in_force(envoy)) == endpoints


async def _reason(scene: Scene, code: str) -> str:
    return (await scene.reasons()).get(code, "")


async def _ticks(scene: Scene, count: int) -> None:
    """Let it decide so often."""
    for _ in range(count):
        before = await _decided(scene)
        await until(lambda: _later(scene, before))  # noqa: B023


async def _later(scene: Scene, than: float) -> bool:
    return await _decided(scene) > than


async def _decided(scene: Scene) -> float:
    _, page = await scene.served.get("/metrics")
    lines = page.decode().splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("weir_services_decided_total"))


async def _let_go(scene: Scene) -> bool:
    told = await scene.served.explain()
    return told is not None and "frozen" not in {one["code"] for one in told["reasons"]}


async def _settled(scene: Scene) -> dict[str, float]:
    """The shares, once they have moved away from even ones and stand."""
    await until_share(scene, "slow", lambda share: share < 0.35)
    for _ in range(20):
        before = await scene.shares()
        await _ticks(scene, 4)
        shares = await scene.shares()
        if max(abs(shares[one] - before[one]) for one in shares) < 0.01:
            return shares
    raise AssertionError(f"shares never stood; the last: {shares}")


async def _slow_down_the_fast(scene: Scene) -> None:
    await scene.backends.script([Event(0.0, i, Happening.SLOW, 6.0) for i in (0, 1)], 0.0)


async def _part_of_arrivals(scene: Scene, backend: int) -> float:
    """Its part of the requests that arrive now."""

    async def arrived() -> list[int]:
        return [one.arrived for one in (await scene.backends.counters())["weir"]]

    first = await arrived()

    async def enough() -> bool:
        return sum(await arrived()) - sum(first) >= 3 * RATE_RPS

    await until(enough)
    more = [now - then for now, then in zip(await arrived(), first, strict=True)]
    return more[backend] / sum(more)


def _damaged_release(folder: Path, damage: str) -> None:
    """A release whose manifest is in order, and whose model is not."""
    folder.mkdir()
    model = b"\x08\x0a\x12 not a model" * 100
    (folder / "model.onnx").write_bytes(model)
    named = model if damage == "bytes" else b"another"
    manifest = {
        "format": 1,
        "name": "learned",
        "base": "model",
        "digest": "sha256:" + hashlib.sha256(named).hexdigest(),
        "bound": 1.0,
        "actuations": ["groups", "endpoints"],
        "features": list(FEATURES),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
