"""Where the end to end test plays: the test server with a node of ours, or a real cluster.

A real one is that of KUBECONFIG (`tests.kubernetes.cluster`), and has the image `weir:0.1.0` on its
nodes. There pods are reached by `kubectl port-forward` and `exec`, and what looks at the network of
a pod from beside it is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controlplane.lab.ports import free_ports
from tests.kubernetes import tools
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.node import Node
from tests.kubernetes.node.pod import Pod
from tests.kubernetes.pages import Command, Shell
from tests.kubernetes.requests import Address
from tests.kubernetes.scene import gateway_api, stand_in

PATIENCE_S = 60.0
LOOK_S = 0.5
SYSTEM = "weir-system"
WEIR, ENVOY, SHOP = "app.kubernetes.io/name=weir", "weir.dev/envoy=true", "app=shop"
ELSEWHERE = "kind |docker "
"""What is done before: there is a cluster, and it has the image."""
FORWARD = f"kubectl -n {SYSTEM} port-forward "
NOT_HERE = f"{ELSEWHERE}|kubectl -n {SYSTEM} (port-forward|logs) "
"""What cannot be typed at the test server: nobody passes on what a kubelet has."""
EXEC = f"kubectl -n {SYSTEM} exec deployment/weir -- /usr/bin/python3"
FORWARDED = "127.0.0.1:8080"
ADMIN = "http://127.0.0.1:18001"
GATEWAY_API = "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/"
MONITORING = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


@dataclass
class Stage(ABC):
    """A cluster in which nothing of Weir is installed yet, and the hands for it."""

    cluster: Cluster
    shell: Shell

    async def kubectl(self, *words: str) -> str:
        return await asyncio.to_thread(self.cluster.kubectl, *words)

    async def refused(self, *words: str) -> str:
        """What kubectl says to what must not work."""
        return await asyncio.to_thread(self.cluster.refused, *words)

    async def read(self, *words: str) -> Any:  # noqa: ANN401 (any object)
        return json.loads(await self.kubectl(*words, "-o", "json"))

    async def type(self, text: str) -> str:
        return await asyncio.to_thread(self.shell.run, text)

    async def pods(self, label: str, namespace: str = SYSTEM) -> list[str]:
        """Names of those with a label that were not told to go."""
        found = await self.read("-n", namespace, "get", "pods", "-l", label)
        return [
            one["metadata"]["name"]
            for one in found["items"]
            if not one["metadata"].get("deletionTimestamp")
        ]

    async def restarts(self) -> dict[str, int]:
        """How often a container was started again, by pod; those of which none was left out."""
        found = await self.read("get", "pods", "-A")
        counts = {
            one["metadata"]["name"]: sum(
                each["restartCount"]
                for each in (one.get("status") or {}).get("containerStatuses") or ()
            )
            for one in found["items"]
        }
        return {name: count for name, count in counts.items() if count}

    async def holder(self) -> tuple[str, int]:
        """Who decides, and the how manieth that is."""
        lease = await self.read("-n", SYSTEM, "get", "lease", "weir-decider")
        return lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]

    @abstractmethod
    async def page(self, typed: Sequence[Command]) -> None:
        """Type commands of a page, with what is otherwise here put in the place of what stands
        there."""

    @abstractmethod
    def gates(self) -> contextlib.AbstractAsyncContextManager[list[Address]]:
        """Where requests come in: each Envoy by itself."""

    @abstractmethod
    async def admin(self, pod: str, path: str) -> Any:  # noqa: ANN401 (any document)
        """What the admin address of a replica says, which is for its own pod alone."""

    @abstractmethod
    async def kill(self, pod: str) -> None:
        """At once, and without a word."""


@dataclass
class Here(Stage):
    """The test server and a node of ours."""

    node: Node

    def pod(self, name: str) -> Pod:
        return self.node.pod(name)

    async def page(self, typed: Sequence[Command]) -> None:
        for command in typed:
            if re.match(NOT_HERE, command.text):
                continue
            instead = dict(self.shell.instead)
            if EXEC in command.text:
                where = self.pod((await self.pods(WEIR))[0]).network.name
                instead[EXEC] = f"ip netns exec {where} {sys.executable}"
            if FORWARDED in command.text:
                service = await self.read("-n", SYSTEM, "get", "service", "weir-envoy")
                instead[FORWARDED] = f"{service['spec']['clusterIP']}:80"
            shell = Shell(self.shell.environment, instead)
            await asyncio.to_thread(shell.run, command.text)

    @contextlib.asynccontextmanager
    async def gates(self) -> AsyncIterator[list[Address]]:
        yield [(self.pod(name).network.address, 8080) for name in await self.pods(ENVOY)]

    async def admin(self, pod: str, path: str) -> Any:  # noqa: ANN401 (any document)
        inside = ("ip", "netns", "exec", self.pod(pod).network.name)
        return await _json(*inside, "curl", "-sSf", f"{ADMIN}{path}")

    async def kill(self, pod: str) -> None:
        for one in self.pod(pod).containers:
            await one.kill()


@dataclass
class There(Stage):
    """A real cluster."""

    async def page(self, typed: Sequence[Command]) -> None:
        """In one shell, as something that is forwarded lasts until its end."""
        lines = ["trap 'kill $(jobs -p)' EXIT"]
        for one in typed:
            if not re.match(ELSEWHERE, one.text):
                lines += [one.text, *(["sleep 3"] if one.text.startswith(FORWARD) else ())]
        await self.type("\n".join(lines))

    @contextlib.asynccontextmanager
    async def gates(self) -> AsyncIterator[list[Address]]:
        names = await self.pods(ENVOY)
        ports = free_ports(len(names))
        command = [tools.program("kubectl"), "-n", SYSTEM, "port-forward"]
        forwards = [
            await asyncio.create_subprocess_exec(
                *(*command, f"pod/{name}", f"{port}:8080"),
                env={**os.environ, **self.shell.environment},
                stdout=asyncio.subprocess.DEVNULL,
            )
            for name, port in zip(names, ports, strict=True)
        ]
        try:
            for port in ports:
                await until(lambda port=port: _connects(port), "a way into the cluster")  # type: ignore[misc]
            yield [("127.0.0.1", port) for port in ports]
        finally:
            for one in forwards:
                one.terminate()
                await one.wait()

    async def admin(self, pod: str, path: str) -> Any:  # noqa: ANN401 (any document)
        ask = f"import urllib.request as u; print(u.urlopen('{ADMIN}{path}').read().decode())"
        kubectl = (tools.program("kubectl"), "--kubeconfig", str(self.cluster.kubeconfig))
        inside = ("-n", SYSTEM, "exec", pod, "--", "/usr/bin/python3", "-c", ask)
        return await _json(*kubectl, *inside)

    async def kill(self, pod: str) -> None:
        await self.kubectl("-n", SYSTEM, "delete", "pod", pod, "--grace-period=0", "--force")


@contextlib.asynccontextmanager
async def here(folder: Path) -> AsyncIterator[Here]:
    """Wants root."""
    with Node.cluster(folder) as server:
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        definitions = folder / "gateway-api.yaml"
        monitoring = (stand_in("monitoring.coreos.com", kind) for kind in MONITORING)
        definitions.write_text(yaml.safe_dump_all([*gateway_api(), *monitoring]))
        instead = {f"{GATEWAY_API}standard-install.yaml": str(definitions)}
        async with Node.running(server, folder) as node:
            cluster = Cluster(kubeconfig, "default", server)
            try:
                yield Here(cluster, _shell(kubeconfig, folder, instead), node)
            except BaseException:
                print(node.logs())
                raise


@contextlib.asynccontextmanager
async def there(kubeconfig: Path, folder: Path) -> AsyncIterator[There]:
    """What was installed is taken away in the end, but for the definitions."""
    stage = There(Cluster(kubeconfig, "default", None), _shell(kubeconfig, folder, {}))
    try:
        yield stage
    finally:
        gone = "--ignore-not-found"
        await stage.kubectl("delete", "-f", "examples/16-kubernetes", gone)
        await stage.type(f"helm uninstall weir -n {SYSTEM} {gone} --wait --timeout=120s")
        await stage.kubectl("delete", "namespace", SYSTEM, gone)


def _shell(kubeconfig: Path, home: Path, instead: dict[str, str]) -> Shell:
    programs = (str(Path(tools.program(one)).parent) for one in tools.PROGRAMS)
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "HOME": str(home),
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
    }
    return Shell(environment, instead)


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not await look():
        assert time.monotonic() < ends_s, f"not seen in {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(LOOK_S)


async def _connects(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


async def _json(*command: str) -> Any:  # noqa: ANN401 (any document)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return json.loads(out)
