"""A pod from its template to its end, as the kubelet has it.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kubernetes.node import volumes
from tests.kubernetes.node.container import Container, secrets_of
from tests.kubernetes.node.network import Network
from tests.kubernetes.node.probes import OFTEN_S, passes
from tests.kubernetes.node.slices import Member

Object = dict[str, Any]
GRACE_S = 30


class Pod:
    """One pod. `run` belongs to a task of the node; `end` may be called once."""

    def __init__(self, pod: Object, network: Network, folder: Path, resolver: Path) -> None:
        self.object = pod
        self.network = network
        self.ending = False
        self.gone = False
        self._resolver = resolver
        self._folder = folder
        self._started: set[str] = set()
        self._passing: set[str] = set()
        self._failed: dict[tuple[str, int], int] = {}
        self._next_s: dict[str, float] = {}
        self._volumes: dict[str, volumes.Volume] = {}
        folder.mkdir(parents=True)
        beside = pod["spec"].get("initContainers") or ()
        if any(one.get("restartPolicy") != "Always" for one in beside):
            raise LookupError("init containers that end are not played here")
        self._beside = len(beside)
        self.containers = [
            Container(one, folder / f"{one['name']}.log")
            for one in (*beside, *pod["spec"]["containers"])
        ]
        """Sidecars first."""

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def owner(self) -> str:
        """The uid of what made it; empty: somebody did."""
        owners = self.object["metadata"].get("ownerReferences") or ({"uid": ""},)
        return str(owners[0]["uid"])

    @property
    def passes(self) -> bool:
        """All containers run, and their readiness probes pass."""
        names = {one.spec["name"] for one in self.containers}
        return self._passing == names and all(one.running for one in self.containers)

    @property
    def ready(self) -> bool:
        return self.passes and not self.ending

    @property
    def phase(self) -> str:
        """As its status has it."""
        codes = [one.process.returncode if one.process else None for one in self.containers]
        if self.object["spec"].get("restartPolicy") != "Never" or None in codes:
            return "Running"
        return "Failed" if any(codes) else "Succeeded"

    @property
    def restarts(self) -> int:
        return sum(one.restarts for one in self.containers)

    @property
    def member(self) -> Member:
        """As Services see it."""
        return Member(
            self.name,
            self.network.address,
            self.object["metadata"].get("labels") or {},
            tuple(one.spec for one in self.containers),
            self.passes,
            self.ending,
        )

    async def run(self, get: volumes.Get, account: Path, api: Mapping[str, str]) -> None:
        """Until it is to end: start what it is made of, look at it, start again what ended."""
        await self._mount(get, account)
        self.network.add()
        going: list[Container] = []
        while not self.ending:
            if len(going) < len(self.containers) and all(map(self._has_started, going)):
                one = self.containers[len(going)]
                await one.start(self.object, self.network, self._resolver, api)
                going.append(one)
            for one in going:
                if one.running:
                    await self._look(one)
                elif self.object["spec"].get("restartPolicy") != "Never":
                    await self._again(one, api)
            await asyncio.sleep(OFTEN_S)

    async def end(self) -> None:
        """In order: what is to be done before, SIGTERM, and at the end of its grace kill -9."""
        self.ending = True
        grace_s = float(self.object["spec"].get("terminationGracePeriodSeconds", GRACE_S))
        await asyncio.gather(*(_stop(one, grace_s) for one in self.containers[self._beside :]))
        for one in reversed(self.containers[: self._beside]):
            await _stop(one, grace_s)
        self._remove()

    async def kill(self) -> None:
        """All at once, and no trace is left."""
        self.ending = True
        await asyncio.gather(*(one.kill() for one in self.containers))
        self._remove()

    def _remove(self) -> None:
        if not self.gone:
            self.gone = True
            with contextlib.suppress(RuntimeError):  # it may have ended before it began
                self.network.remove()

    async def refresh(self, get: volumes.Get) -> None:
        """Secrets and ConfigMaps that changed, as files."""
        for one in self._volumes.values():
            await one.refresh(get)

    async def _mount(self, get: volumes.Get, account: Path) -> None:
        spec, namespace = self.object["spec"], self.object["metadata"]["namespace"]
        folder = self._folder / "volumes"
        self._volumes = {
            one["name"]: volumes.Volume(one, namespace, folder / one["name"])
            for one in spec.get("volumes") or ()
        }
        await self.refresh(get)
        for container in self.containers:
            mounts = {
                one["mountPath"]: self._volumes[one["name"]].folder
                for one in container.spec.get("volumeMounts") or ()
            }
            if spec.get("automountServiceAccountToken", True):
                mounts[str(volumes.ACCOUNT)] = account
            container.mounts = mounts
            container.secrets = {
                name: await get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
                for name in secrets_of(container.spec)
            }

    async def _look(self, container: Container) -> None:
        """Probes: startup, then readiness and liveness, each when it is due."""
        spec, name = container.spec, str(container.spec["name"])
        startup = spec.get("startupProbe")
        if startup and name not in self._started:
            if await passes(startup, container, self.network.address):
                self._started.add(name)
            return
        readiness = spec.get("readinessProbe")
        if readiness is None:
            self._passing.add(name)
        elif self._due(f"{name} readiness", readiness, often=name not in self._passing):
            if await self._holds(readiness, container):
                self._passing.add(name)
            elif self._too_many(readiness, container):
                self._passing.discard(name)
        liveness = spec.get("livenessProbe")
        if liveness is None or not self._due(f"{name} liveness", liveness):
            return
        if not await self._holds(liveness, container) and self._too_many(liveness, container):
            await container.kill()

    async def _holds(self, probe: Object, container: Container) -> bool:
        """Whether it passes; how often in a row it did not is counted."""
        key = (container.spec["name"], id(probe))
        good = await passes(probe, container, self.network.address)
        self._failed[key] = 0 if good else self._failed.get(key, 0) + 1
        return good

    def _too_many(self, probe: Object, container: Container) -> bool:
        failed = self._failed[(container.spec["name"], id(probe))]
        return failed >= int(probe.get("failureThreshold", 3))

    def _has_started(self, container: Container) -> bool:
        """What comes after it may start: a sidecar is asked, what comes beside it is not."""
        if self.containers.index(container) >= self._beside:
            return True
        return "startupProbe" not in container.spec or container.spec["name"] in self._started

    def _due(self, what: str, probe: Object, *, often: bool = False) -> bool:
        now_s = time.monotonic()
        if not often and now_s < self._next_s.get(what, 0.0):
            return False
        self._next_s[what] = now_s + float(probe.get("periodSeconds", 10))
        return True

    async def _again(self, container: Container, api: Mapping[str, str]) -> None:
        name = str(container.spec["name"])
        self._started.discard(name)
        self._passing.discard(name)
        self._failed.clear()
        container.restarts += 1
        await asyncio.sleep(OFTEN_S * min(50, 2**container.restarts))
        if not self.ending:
            await container.start(self.object, self.network, self._resolver, api)


async def _stop(container: Container, grace_s: float) -> None:
    before = ((container.spec.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}
    first_s = min(grace_s, float(before.get("seconds", 0)))
    await asyncio.sleep(first_s)
    await container.stop(grace_s - first_s)
