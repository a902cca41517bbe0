"""Several control loops over the same simulated machines: one for each service, or for each Envoy.

Each is what serving does, with what its own proxies see alone: the others are not seen, but their
requests make machines slow. The kinds of machines are declared (`weir.dev/class`), so that all have
the same groups, which is what the simulator can split by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from controlplane.model import Endpoint, Grouping, Proposal, Service, ServiceName
from controlplane.model.observation import Floats
from policies.env.episodes import GROUPS
from policies.env.goals import Felt
from policies.env.stages import Stages
from policies.simulator import Case, Simulation, Telemetry

INTERVAL_S = 1.0
POLICY = "model"
CLASS_LABEL = "weir.dev/class"


@dataclass(slots=True)
class _Tenant:
    """One that sends requests."""

    service: Service
    noise: np.random.Generator
    belief: Any = None
    memory: Any = None


class Tenancy:
    """A case of `policies.simulator.tenants` under control, by `model` for each of them."""

    def __init__(self, stages: Stages, policies: Any, case: Case, seed: int) -> None:  # noqa: ANN401
        self._guard, self._asked = stages.guard, stages.decide.Asked
        self._decider = stages.decide.Decider(policies)
        self.case, self.run, self.now_s = case, Simulation(case, seed), 0.0
        endpoints = _machines(case)
        self._tenants = [
            _Tenant(
                Service(ServiceName(f"simulated/{name}"), endpoints, policy=POLICY),
                np.random.Generator(np.random.PCG64([seed, 77, i])),
            )
            for i, name in enumerate(case.regions)
        ]
        self._by_name = {one.service.name: one for one in self._tenants}
        self._seen: Telemetry | None = None
        """By the proxies of one of them; of how busy machines were all say the same."""
        self._decided = self._decide([None] * len(self._tenants))
        self._put([one.proposal for one in self._decided])

    def look(self) -> list[Any]:
        """Play to the next tick; what each loop would decide."""
        self.now_s += INTERVAL_S
        self.run.advance(self.now_s)
        looks = []
        telemetry = self.run.telemetry_by_region()
        self._seen = telemetry[0]
        for tenant, seen in zip(self._tenants, telemetry, strict=True):
            noise = None
            if self.case.orca:
                spread = self.case.telemetry_noise
                noise = 1.0 + spread * tenant.noise.standard_normal(len(seen.endpoints))
            looks.append(seen.observation(tenant.service.name, utilisation_noise=noise))
        self._decided = self._decide(looks)
        return self._decided

    def act(self, proposals: Sequence[Proposal] | None = None) -> None:
        """What is proposed, or else what was decided, is checked, and in force after the delay."""
        self.run.advance(self.now_s + self.case.delay_s)
        self._put(proposals or [one.proposal for one in self._decided])

    def felt(self) -> list[Felt]:
        """What the requests of each that arrived since the last call get, beside what the machines
        did for all of them in the interval that has passed."""
        by_class = self.run.outcome_by_class()
        return [
            Felt.of(self.case, {name: by_class[name]}, self._seen) for name in self.case.regions
        ]

    def _decide(self, looks: Sequence[Any]) -> list[Any]:
        asked = [
            self._asked(one.service, look, one.belief)
            for one, look in zip(self._tenants, looks, strict=True)
        ]
        decided = list(self._decider.decide(asked, self.now_s, self._in_force))
        for tenant, decision in zip(self._tenants, decided, strict=True):
            tenant.belief = decision.memory
        return decided

    def _put(self, proposals: Sequence[Proposal]) -> None:
        rows: list[Floats] = []
        for tenant, decision, proposal in zip(self._tenants, self._decided, proposals, strict=True):
            verdict, tenant.memory = self._guard.check(
                decision.situation, proposal, tenant.memory, self.now_s
            )
            weights = np.array(verdict.weights.by_group, np.float64)
            rows.append(weights / weights.sum())
            grouping: Grouping = verdict.grouping
        self.run.split(grouping, np.stack(rows))

    def _in_force(self, service: Service, grouping: Grouping) -> Floats:
        memory = self._by_name[service.name].memory
        shares: Floats = self._guard.shares_in_force(service, memory, grouping, self.now_s)
        return shares


def _machines(case: Case) -> tuple[Endpoint, ...]:
    """Labelled by kind, of which there are GROUPS at most: those of like speed are one."""
    speeds = np.array([one.speed.value[0] * one.workers for one in case.stations])
    kinds = np.unique(speeds)
    kind_of = np.arange(len(kinds)) * min(GROUPS, len(kinds)) // len(kinds)
    label = kind_of[np.searchsorted(kinds, speeds)]
    return tuple(
        replace(one, labels={CLASS_LABEL: f"kind-{k}"})
        for one, k in zip(case.service().endpoints, label.tolist(), strict=True)
    )
