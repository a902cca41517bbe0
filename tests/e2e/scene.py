"""A small fleet for the proofs: real Envoys under `weir serve`, over scripted backends, under load.

Endpoints carry their class as a label, so groups stand from the first moment and what a test sees
is how weights move, not when groups are found.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format

from controlplane._pb.endpoint_pb2 import ClusterLoadAssignment
from controlplane.lab.backends import Backends, BackendSpec, run_backends
from controlplane.lab.envoy import Envoy
from controlplane.lab.lanes import run_envoys, wait_serving
from controlplane.lab.load import play
from controlplane.lab.ports import free_ports, require_one_listener
from controlplane.lab.results import Live
from controlplane.lab.schedule import Arrivals, WorkMix, draw_schedule
from controlplane.lab.stock import CLUSTER
from controlplane.lab.weir import WeirServe, documents, gateway_name
from controlplane.translate.bootstrap import ads_bootstrap

LANE = "weir"
FAST_AND_SLOW = (BackendSpec(speed=2.0, kind="fast"),) * 2 + (
    BackendSpec(speed=0.5, kind="slow"),
) * 2
SHORT_WORK = WorkMix(means_s=(0.04,), parts=(1.0,))
PATIENCE_S = 60.0
"""For what takes a second or two on an idle machine."""

Found = TypeVar("Found")


@dataclass(slots=True)
class Load:
    """Requests that go on while a test does something else."""

    done: int = 0
    errors: int = 0


@dataclass(slots=True)
class Scene:
    """What is running."""

    served: WeirServe
    backends: Backends
    specs: Sequence[BackendSpec]
    listeners: list[int]
    admins: list[int]
    folder: Path
    envoys: tuple[Envoy, ...] = ()
    declared: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ports(self) -> tuple[int, ...]:
        """Of the backends."""
        return self.backends.ports[LANE]

    def of_kind(self, kind: str) -> list[str]:
        """The endpoints of this class."""
        return [
            f"127.0.0.1:{port}"
            for port, spec in zip(self.ports, self.specs, strict=True)
            if spec.kind == kind
        ]

    async def shares(self) -> dict[str, float]:
        """The share of each endpoint in force, as Weir tells it; empty while it does not."""
        told = await self.served.explain()
        return {one["endpoint"]: one["share"] for one in told["endpoints"]} if told else {}

    async def share_of(self, kind: str) -> float:
        """The summed share of a class; NaN while it is not told."""
        shares = await self.shares()
        return sum(shares[one] for one in self.of_kind(kind)) if shares else float("nan")

    async def reasons(self) -> dict[str, str]:
        """The reasons of the last tick, by code."""
        told = await self.served.explain()
        return {one["code"]: one["text"] for one in told["reasons"]} if told else {}

    async def problems(self) -> list[dict[str, Any]]:
        """What is wrong with the documents."""
        status, body = await self.served.get("/v1/problems")
        assert status == 200
        found: list[dict[str, Any]] = json.loads(body)
        return found

    def write(self) -> None:
        """Write the documents as they are now."""
        self.served.declare(self.declared)

    def declared_kind(self, kind: str) -> dict[str, Any]:
        """The first document of this kind, to be changed."""
        return next(one for one in self.declared if one["kind"] == kind)


def declare(scene: Scene, policy: str, overlay: bool = False) -> None:
    """The documents of the lab's lane, with the classes as labels; for an overlay no routes."""
    scene.declared = documents(scene.listeners, scene.ports, policy)
    if overlay:
        kinds = ("Backend", "BalancingPolicy")
        scene.declared = [one for one in scene.declared if one["kind"] in kinds]
    for endpoint, spec in zip(
        scene.declared_kind("Backend")["spec"]["endpoints"], scene.specs, strict=True
    ):
        if spec.kind:
            endpoint["labels"] = {"weir.dev/class": spec.kind}
    scene.write()


@contextlib.asynccontextmanager
async def play_scene(
    folder: Path,
    *,
    specs: Sequence[BackendSpec] = FAST_AND_SLOW,
    envoys: int = 3,
    policy: str = "model",
    options: Sequence[str] = (),
    load_reports: bool = True,
    orca: bool = False,
    overlay: bool = False,
    bootstraps: Callable[[Scene], list[dict[str, Any]]] | None = None,
    before: Callable[[Scene], contextlib.AbstractAsyncContextManager[Sequence[str]]] | None = None,
) -> AsyncIterator[Scene]:
    """`weir serve`, its Envoys and their backends, all ready.

    `bootstraps` may give other Envoys than those that own nothing; `before` may start something
    that Weir needs, and gives further options. With `orca` backends say how busy they are.
    """
    ports = free_ports(2 * envoys)
    async with contextlib.AsyncExitStack() as stack:
        backends = await stack.enter_async_context(
            run_backends(specs, folder, lanes=(LANE,), orca=(LANE,) if orca else ())
        )
        served = WeirServe(folder, options)
        scene = Scene(served, backends, specs, ports[:envoys], ports[envoys:], folder)
        if before is not None:
            more = await stack.enter_async_context(before(scene))
            scene.served = served = WeirServe(folder, (*options, *more))
        declare(scene, policy, overlay)
        stack.push_async_callback(_stop, scene)
        await served.start()
        await served.wait_ready()
        made = bootstraps(scene) if bootstraps else _own_nothing(scene, load_reports)
        scene.envoys = await stack.enter_async_context(run_envoys(made, folder, name=LANE))
        await wait_serving(scene.listeners, scene.envoys)
        require_one_listener(ports)
        yield scene


async def _stop(scene: Scene) -> None:
    await scene.served.stop()


def _own_nothing(scene: Scene, load_reports: bool) -> list[dict[str, Any]]:
    return [
        ads_bootstrap(
            node_id=f"{LANE}-{i}",
            fleet=f"default/{gateway_name(i)}",
            xds_port=scene.served.xds_port,
            admin_port=admin,
            load_reports=load_reports,
        )
        for i, admin in enumerate(scene.admins)
    ]


@contextlib.asynccontextmanager
async def under_load(
    scene: Scene, rate_rps: float, work: WorkMix = SHORT_WORK, duration_s: float = 600.0
) -> AsyncIterator[Load]:
    """Open-loop requests until the block ends; each one counts, and one that fails is an error."""
    schedule = draw_schedule(
        1, Arrivals(rate_rps), work, duration_s=duration_s, envoys=len(scene.listeners)
    )
    load = Load()
    looked = asyncio.Event()

    def live(now: Live) -> None:
        load.done, load.errors = now.lanes[LANE].done, now.lanes[LANE].errors
        looked.set()

    playing = asyncio.create_task(
        play(schedule, {LANE: scene.listeners}, scene.folder, on_live=live)
    )
    try:
        await until(lambda: holds(load.done > 0), playing=playing)
        yield load
        looked.clear()
        async with asyncio.timeout(PATIENCE_S):  # one more look: up to the end of the block
            await looked.wait()
    finally:
        playing.cancel()
        await asyncio.wait({playing})


async def holds(condition: bool) -> bool:
    """For `until`, where nothing has to be asked."""
    return condition


async def until(
    look: Callable[[], Awaitable[Found]],
    *,
    deadline_s: float = PATIENCE_S,
    playing: asyncio.Task[Any] | None = None,
    every_s: float = 0.1,
) -> Found:
    """Look again and again until what is found is true."""
    end = time.monotonic() + deadline_s
    found = None
    while time.monotonic() < end:
        if playing is not None and playing.done():
            playing.result()
        with contextlib.suppress(OSError, TimeoutError):
            found = await look()
            if found:
                return found
        await asyncio.sleep(every_s)
    raise AssertionError(f"not seen in {deadline_s:.0f} s; the last look found {found!r}")


async def until_share(
    scene: Scene, kind: str, enough: Callable[[float], bool], deadline_s: float = PATIENCE_S
) -> float:
    """Wait until the summed share of a class is so."""
    last = float("nan")

    async def look() -> bool:
        nonlocal last
        last = await scene.share_of(kind)
        return enough(last)

    try:
        await until(look, deadline_s=deadline_s)
    except AssertionError:
        told = json.dumps(await scene.served.explain())
        raise AssertionError(f"the share of {kind} is {last}: {told}") from None
    return last


async def weights_in_force(envoy: Envoy, cluster: str = CLUSTER) -> dict[str, int]:
    """{endpoint: its weight times that of its locality} in a real Envoy; empty: none yet."""
    dump = json.loads(await envoy.get("/config_dump?include_eds"))
    for part in dump["configs"]:
        both = ("static_endpoint_configs", "dynamic_endpoint_configs")  # a static cluster, too
        for one in (one for name in both for one in part.get(name, ())):
            if one["endpoint_config"].get("cluster_name") == cluster:
                return _weights(one["endpoint_config"])
    return {}


def weights_of(body: bytes) -> dict[str, int]:
    """The same of an assignment's bytes."""
    assignment = ClusterLoadAssignment.FromString(body)
    return _weights(json_format.MessageToDict(assignment, preserving_proto_field_name=True))


def _weights(assignment: dict[str, Any]) -> dict[str, int]:
    found = {}
    for locality in assignment.get("endpoints", ()):
        of_group = locality.get("load_balancing_weight", 1)
        for member in locality["lb_endpoints"]:
            at = member["endpoint"]["address"]["socket_address"]
            weight = of_group * member.get("load_balancing_weight", 1)
            found[f"{at['address']}:{at['port_value']}"] = weight
    return found


async def verb(*words: str) -> str:
    """One run of `weir`; what it writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane.cli", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()
