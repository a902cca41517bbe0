"""What the admin address answers, of a real loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from prometheus_client import CollectorRegistry

from controlplane.console import AppConsole
from controlplane.decide import Decider, Policies
from controlplane.front.port import Front
from controlplane.loop import Loop
from controlplane.model import Endpoint, Observation, Proposal, Service, ServiceName, Situation
from controlplane.model.attribution import Attribution
from controlplane.model.features import FEATURES
from controlplane.model.observation import Floats
from controlplane.publisher import Publisher
from controlplane.resources import Declared
from controlplane.store import KillSwitch
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.translate import Translator
from tests.fakes import MemoryStore, RecordingSink, look, service

WEB = replace(
    service("default/web", policy="slow"),
    endpoints=tuple(
        Endpoint(f"10.0.0.{i + 1}", 80, labels={"weir.dev/class": f"c{i % 2}"}) for i in range(4)
    ),
)


@dataclass
class Slow:
    """A policy that takes long to say why: until it is let go."""

    let_go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        return [Proposal(one.shares, "slow", base=one.shares) for one in situations]

    def attribute(self, situation: Situation, base: Floats) -> Attribution:
        self.begun.set()
        assert self.let_go.wait(60.0), "nobody was served meanwhile"
        table = np.zeros((len(base), len(FEATURES)), np.float32)
        effects = np.zeros(table.shape)
        return Attribution(effects, np.zeros(len(base)), table, table, 8, situation.grouping.names)


class Source:
    """One look at everything."""

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        return {one.name: look(one, 1.0) for one in services}


async def test_others_are_served_while_attributions_are_worked_out(tmp_path: Path) -> None:
    policy, now_s = Slow(), 1.0
    decider = Decider(Policies({"slow": lambda: lambda: policy}))
    publisher = Publisher(Translator(), RecordingSink(), lambda percent: percent)
    loop = Loop(
        source=Source(),
        decider=decider,
        publisher=publisher,
        store=MemoryStore(),
        switch=lambda: lambda name: None,
        clock=lambda: now_s,
        wall_clock=lambda: now_s,
        metrics=LoopMetrics(CollectorRegistry()),
    )
    await loop.declare(Declared(), [WEB])
    await loop.tick(loop.names())
    nobody = cast(Front, None)  # what is decided is not asked of the Envoys
    switch = KillSwitch(tmp_path)
    console = AppConsole(loop, decider, publisher, nobody, switch, lambda: now_s)
    asked: asyncio.Task[dict[str, Any] | None] = asyncio.create_task(
        console.explain("default/web", attributed=True)
    )
    await asyncio.to_thread(policy.begun.wait, 60.0)
    plain = await console.explain("default/web")
    await loop.tick(loop.names())
    assert not asked.done()
    policy.let_go.set()
    told = await asked
    assert plain is not None
    assert told is not None
    found = told.pop("attributions")
    assert told == plain
    assert (found["policy"], found["points"], found["why_not"]) == ("slow", 8, None)
    assert [one["group"] for one in found["groups"]] == [one["group"] for one in plain["groups"]]
