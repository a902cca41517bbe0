"""What the admin address shows and steers, gathered from the parts of a running Weir."""

from __future__ import annotations

import asyncio
import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controlplane.api.attributions import attributions, none
from controlplane.api.explain import explain
from controlplane.decide import Decided, Decider
from controlplane.errors import NotExplainableError, WeirError
from controlplane.explain import Request, explain_route
from controlplane.explain.document import document
from controlplane.front.port import Front
from controlplane.front.programmed import brief, programming, takings
from controlplane.front.proxies import Side
from controlplane.loop import Loop
from controlplane.model import ServiceName
from controlplane.publisher import Publisher
from controlplane.replicas.messages import Fleet
from controlplane.replicas.replicas import Replicas
from controlplane.replicas.roll import Elsewhere
from controlplane.resources import Loaded, ObjectKey
from controlplane.resources.conditions import Condition, Programming, conditions
from controlplane.store import ALL, KillSwitch
from controlplane.telemetry.version import version


class AppConsole:
    """A `controlplane.api.app.Console`."""

    def __init__(
        self,
        loop: Loop,
        decider: Decider,
        publisher: Publisher,
        front: Front,
        switch: KillSwitch,
        clock: Callable[[], float],
        staging: Callable[[str], bool] = lambda fleet: False,
        versions: Callable[[str], Mapping[str, str]] = lambda fleet: {},
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """`staging`: whether a change is on its way to the Envoys of a fleet in stages.
        `versions`: what they should run, by type URL.
        `settings`: those that are in force, without what is secret."""
        self._loop = loop
        self._decider = decider
        self._publisher = publisher
        self._front = front
        self._switch = switch
        self._clock = clock
        self._staging = staging
        self._versions = versions
        self._settings = settings or {}
        self.replicas: Replicas | None = None
        """The others, where there may be some."""
        self.stopping = False
        self.loaded = Loaded()

    def about(self) -> dict[str, Any]:
        """Which Weir this is, and how it runs."""
        return {
            "version": version(),
            "python": platform.python_version(),
            "settings": dict(self._settings),
        }

    def ready(self) -> tuple[bool, str]:
        """Ready when a complete state is served, and until the process is told to stop."""
        if self.stopping:
            return False, "stopping"
        if not self._publisher.published:
            return False, "no complete state yet: documents, names or other replicas are waited for"
        if not self._front.ready:
            return False, "no process listens for Envoys"
        return True, f"ready; {self.loaded.stale}" if self.loaded.stale else "ready"

    def services(self) -> list[dict[str, Any]]:
        """One line for each service, in the order of their names."""
        return [self._service(name) for name in self._loop.names()]

    async def explain(self, service: str, *, attributed: bool = False) -> dict[str, Any] | None:
        """The last tick of a service; `attributed`: and which features moved the policy."""
        known = self._loop.known(ServiceName(service))
        if known is None or known.decision is None or known.verdict is None:
            return None
        decision, orders = known.decision, self._loop.orders(known.service.cluster)
        situation, proposal = decision.situation, decision.proposal
        regional = self._loop.regional(known.service.cluster)
        why = regional.why if regional is not None else None
        document = explain(situation, proposal, known.verdict, self._clock(), orders, why)
        if attributed:
            document["attributions"] = await self._attributions(decision)
        return document

    async def _attributions(self, decision: Decided) -> dict[str, Any]:
        """In a thread, so that nobody waits meanwhile who is served."""
        policy = decision.wanted.policy
        if self.replicas is not None and not self.replicas.decides:
            return none(policy, f"{self.replicas.why_not}; ask the one that decides")
        try:
            found = await asyncio.to_thread(self._decider.attribute, decision)
        except NotExplainableError as error:
            return none(policy, str(error))
        return attributions(policy, found)

    async def proxies(self) -> list[dict[str, Any]]:
        """Every connected Envoy, and where it stands with each type."""
        return await self._front.proxies()

    async def proxy(self, node: str) -> dict[str, Any] | None:
        """One of them."""
        return await self._front.proxy(node)

    async def resources(self, node: str, side: Side, only: str | None) -> dict[str, Any] | None:
        """What one of them should run, or has ACKed."""
        return await self._front.resources(node, side, only)

    def problems(self) -> list[dict[str, Any]]:
        """What is wrong with the documents."""
        return [dataclasses.asdict(problem) for problem in self.loaded.problems]

    def translated(self) -> Loaded | None:
        """What is declared, if what Envoys are sent is made of it, but perhaps for endpoints."""
        now, made = self.loaded.declared, self._publisher.declared
        same = made is now or (made is not None and now.differs_in_endpoints_alone(made))
        return self.loaded if same else None

    async def status(self) -> list[dict[str, Any]]:
        """Every Gateway, route and policy with its conditions."""
        return [
            {"kind": key.kind, "name": key.name, "conditions": [*map(dataclasses.asdict, found)]}
            for key, found in (await self.conditions()).items()
        ]

    async def conditions(self) -> Mapping[ObjectKey, tuple[Condition, ...]]:
        """The same, by object."""
        declared = self.loaded.declared
        far = {key: await self._programming(key) for key in declared.gateways}
        return conditions(declared, far, self._publisher.unused)

    def replica(self) -> dict[str, Any] | None:
        """What this process is among the replicas; None where it is alone."""
        return self.replicas.described() if self.replicas is not None else None

    async def fleets(self) -> Mapping[str, Fleet]:
        """The Envoys that are served here, for the replica that decides."""
        return {key: await self._fleet(key) for key in self.loaded.declared.gateways}

    async def _fleet(self, fleet: str) -> Fleet:
        versions = self._versions(fleet)  # before the Envoys: these are never behind it
        waits = self._waits(fleet)
        try:
            clients = await self._front.clients(fleet)
        except WeirError as error:
            return Fleet(versions, (), waits or f"nobody can tell how far its Envoys are: {error}")
        return Fleet(versions, tuple(brief(takings(clients))), waits)

    def _waits(self, fleet: str) -> str:
        if self.translated() is None:
            return "it is not translated yet: endpoints are still looked up"
        if fleet in self.loaded.declared.left_alone:
            return "Secrets that it needs are not known yet"
        return "a change goes out in stages" if self._staging(fleet) else ""

    async def _programming(self, fleet: str) -> Programming:
        if waits := self._waits(fleet):
            return Programming(waits=waits)
        others = self.replicas.elsewhere(fleet) if self.replicas is not None else Elsewhere()
        if others.waits:
            return Programming(waits=others.waits)
        found = programming(await self._front.clients(fleet), others.envoys)
        if not found.envoys and self.replicas is not None and (why := self.replicas.why_not):
            return Programming(waits=f"no Envoy of {fleet} is connected to this replica, and {why}")
        return found

    def explain_route(
        self, method: str, url: str, headers: Sequence[str], gateway: str | None
    ) -> list[dict[str, Any]]:
        """Which route takes a request. Raises `WeirError` where nobody listens for it."""
        declared = self.loaded.declared
        request = Request.of(method, url, headers)
        return [document(declared, one) for one in explain_route(declared, request, gateway)]

    def freeze(self, service: str | None, reason: str, by: str) -> None:
        """Hold a service, or all, until a person resumes."""
        name = self._named(service)
        self._switch.freeze(reason, by=by or "somebody at the admin address", service=name)

    def resume(self, service: str | None) -> tuple[str, ...]:
        """Let go again; what is still frozen after that."""
        return self._switch.let_go(ALL if service is None else ServiceName(service))

    def _named(self, service: str | None) -> ServiceName:
        if service is None:
            return ALL
        if self._loop.known(ServiceName(service)) is None:
            raise WeirError(f"no service {service}; see `weir weights list`")
        return ServiceName(service)

    def _service(self, name: ServiceName) -> dict[str, Any]:
        known = self._loop.known(name)
        assert known is not None
        verdict, decision = known.verdict, known.decision
        age_s = self._clock() - known.look.at_s
        return {
            "service": name,
            "policy": decision.proposal.policy if decision else known.service.policy,
            "actuation": "groups" if verdict and verdict.grouping.by_locality else "endpoints",
            "endpoints": len(known.service.endpoints),
            "groups": len(verdict.grouping.names) if verdict else 0,
            "age_s": age_s if age_s < 1e9 else None,
            "state": ", ".join(r.code for r in verdict.reasons) or "ok" if verdict else "new",
        }
