"""The node and the controllers, as one loop over the API: what is wanted becomes what is."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.certificates import Authority, Files
from tests.kubernetes.apiserver import ApiServer
from tests.kubernetes.node import names, network, slices, volumes
from tests.kubernetes.node.deployments import HASH, Replica, next_step, status, template_hash
from tests.kubernetes.node.names import NameServer
from tests.kubernetes.node.network import HOST, Network
from tests.kubernetes.node.pod import Pod
from tests.kubernetes.node.proxy import Address, Proxy

Object = dict[str, Any]
LOOK_S = 0.1
REFRESH_S = 2.0
"""How often files follow what they are of: a kubelet takes a minute or so."""
NAME, REGION = "here", "here"
KUBELET = "tests.weir.dev/kubelet"
"""What holds the object of a pod until its processes have ended."""
MERGE = {"content-type": "application/merge-patch+json"}
_NAMESPACES = "/api/v1/namespaces"


class Node:
    """A machine that runs what the API has. Use `Node.running`."""

    _http: httpx.AsyncClient
    _group: asyncio.TaskGroup

    def __init__(self, server: ApiServer, folder: Path, ca: Files) -> None:
        self._server, self._folder, self._ca = server, folder, ca
        self._names: dict[str, list[str]] = {}
        self._pods: dict[str, Pod] = {}
        self._proxies: dict[Address, Proxy] = {}
        self._written: dict[str, Object] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._chance = random.Random(1)

    @classmethod
    @contextmanager
    def cluster(cls, folder: Path) -> Iterator[ApiServer]:
        """An API server that pods can reach, with certificates and permissions; nothing runs."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority()
        tls = Files(folder / "api").put(authority.issue(ips=[HOST]), authority.pem)
        with ExitStack() as stack:
            stack.enter_context(network.bridge())
            yield stack.enter_context(ApiServer(tls=tls, access_control=True, host=HOST))

    @classmethod
    @asynccontextmanager
    async def running(cls, server: ApiServer, folder: Path) -> AsyncIterator[Node]:
        """Until the end of the block; a fault of its own ends the block."""
        made = cls(server, folder, Files(folder / "api"))
        trust = ssl.create_default_context(cafile=str(made._ca.ca))
        headers = {"authorization": f"Bearer {server.admin_token}"}
        async with httpx.AsyncClient(
            base_url=server.url, verify=trust, headers=headers, timeout=10.0
        ) as made._http:
            topology = {
                "topology.kubernetes.io/region": REGION,
                "topology.kubernetes.io/zone": slices.ZONE,
            }
            asked, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: NameServer(lambda: made._names), local_addr=(HOST, 53)
            )
            await made._post("/api/v1/nodes", {"metadata": {"name": NAME, "labels": topology}})
            try:
                async with asyncio.TaskGroup() as group:
                    made._group = group
                    made._begin("node", made._run())
                    made._begin("volumes", made._refresh())
                    yield made
                    for task in made._tasks:
                        task.cancel()
            finally:
                asked.close()
                await asyncio.gather(*(one.kill() for one in made._pods.values()))
                await asyncio.gather(*(one.stop() for one in made._proxies.values()))

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- for tests ---

    def pod(self, name: str) -> Pod:
        return self._pods[name]

    def logs(self) -> str:
        """The end of what each container wrote."""
        return "\n".join(
            f"--- {pod.name} {one.spec['name']}\n{one.tail}"
            for pod in self._pods.values()
            for one in pod.containers
            if one.log.exists()
        )

    # --- the loop ---

    async def _run(self) -> None:
        while True:
            deployments = await self._list("/apis/apps/v1/deployments")
            # Names before pods: who does not find one does not look again for a while.
            await self._look_at_services()
            await self._deploy(deployments)
            await self._follow_pods()
            await self._statuses()
            await asyncio.sleep(LOOK_S)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            for one in tuple(self._pods.values()):
                if not one.ending:
                    with suppress(httpx.HTTPStatusError):  # gone; the files stay
                        await one.refresh(self._get)

    async def _deploy(self, deployments: Sequence[Object]) -> None:
        for deployment in deployments:
            metadata = deployment["metadata"]
            own = [
                one
                for one in self._pods.values()
                if not one.ending and one.owner == metadata["uid"]
            ]
            replicas = [
                Replica(one.name, one.object["metadata"]["labels"][HASH], one.ready) for one in own
            ]
            step = next_step(deployment, replicas)
            for _ in range(step.create):
                await self._create(deployment)
            for name in step.remove:
                self._end(self._pods[name])
            path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/deployments"
            await self._say(f"{path}/{metadata['name']}", status(deployment, replicas))

    async def _create(self, deployment: Object) -> None:
        self._count += 1
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        made, namespace = template_hash(deployment), metadata["namespace"]
        labels = {
            **(template["metadata"].get("labels") or {}),
            HASH: made,
            # As the API server copies them from the node since 1.35.
            "topology.kubernetes.io/region": REGION,
            "topology.kubernetes.io/zone": slices.ZONE,
        }
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "controller": True}
        owner |= {"name": metadata["name"], "uid": metadata["uid"]}
        pod = await self._post(
            f"{_NAMESPACES}/{namespace}/pods",
            {
                "metadata": {
                    "name": f"{metadata['name']}-{made}-{self._count:05}",
                    "labels": labels,
                    "annotations": template["metadata"].get("annotations") or {},
                    "ownerReferences": [owner],
                    "finalizers": [KUBELET],
                },
                "spec": {**template["spec"], "nodeName": NAME},
            },
        )
        self._take(pod)

    def _take(self, pod: Object) -> None:
        """Run it."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        resolver = self._folder / f"{namespace}.resolv"
        resolver.write_text(names.resolver(HOST, namespace))
        made = Pod(pod, Network(self._count), self._folder / name, resolver)
        self._pods[name] = made
        self._begin(name, self._run_pod(made))

    async def _run_pod(self, pod: Pod) -> None:
        name = pod.object["spec"].get("serviceAccountName", "default")
        namespace = pod.object["metadata"]["namespace"]
        token = self._server.account_token(namespace, name)
        folder = self._folder / f"{pod.name}-account"
        account = volumes.account(namespace, token, self._ca.ca.read_bytes(), folder)
        at = urlsplit(self._server.url)
        api = {
            "KUBERNETES_SERVICE_HOST": str(at.hostname),
            "KUBERNETES_SERVICE_PORT": str(at.port),
        }
        await pod.run(self._get, account, api)

    def _end(self, pod: Pod) -> None:
        if pod.ending:
            return
        pod.ending = True

        metadata = pod.object["metadata"]
        path = f"{_NAMESPACES}/{metadata['namespace']}/pods/{pod.name}"

        async def end() -> None:
            await self._http.delete(path)  # says when; it is there until nothing holds it
            await pod.end()
            none = {"metadata": {"finalizers": None}}
            await self._http.patch(path, json=none, headers=MERGE)
            del self._pods[pod.name]

        self._begin(f"end of {pod.name}", end())

    async def _follow_pods(self) -> None:
        """Pods that somebody deletes, or whose Deployment is gone, end; those that somebody made
        by themselves begin."""
        stay = {
            one["metadata"]["name"]: one
            for one in await self._list("/api/v1/pods")
            if not one["metadata"].get("deletionTimestamp")
        }
        for name in stay.keys() - self._pods.keys():
            self._count += 1
            self._take(stay[name])
        for one in tuple(self._pods.values()):
            if one.name not in stay:
                self._end(one)

    async def _statuses(self) -> None:
        for one in tuple(self._pods.values()):
            said = {
                "phase": one.phase,
                "podIP": one.network.address,
                "podIPs": [{"ip": one.network.address}],
                "conditions": [{"type": "Ready", "status": "True" if one.ready else "False"}],
                "containerStatuses": [
                    {
                        "name": each.spec["name"],
                        "image": each.spec["image"],
                        "imageID": "",
                        "ready": one.ready,
                        "restartCount": each.restarts,
                    }
                    for each in one.containers
                ],
            }
            namespace = one.object["metadata"]["namespace"]
            if not one.ending:
                await self._say(f"{_NAMESPACES}/{namespace}/pods/{one.name}", said)

    async def _look_at_services(self) -> None:
        members = {
            namespace: [
                one.member
                for one in self._pods.values()
                if one.object["metadata"]["namespace"] == namespace
            ]
            for namespace in {one.object["metadata"]["namespace"] for one in self._pods.values()}
        }
        found: dict[str, list[str]] = {}
        for service in await self._list("/api/v1/services"):
            metadata, spec = service["metadata"], service["spec"]
            if not spec.get("selector"):
                continue
            those = members.get(metadata["namespace"], [])
            await self._put_slice(slices.slice_of(service, those))
            ready = [one.address for one in slices.selected(service, those) if one.ready]
            headless = spec.get("clusterIP") in (None, "None")
            name = f"{metadata['name']}.{metadata['namespace']}.svc.{names.DOMAIN}"
            found[name] = ready if headless else [spec["clusterIP"]]
            if not headless:
                await self._follow(service)
        self._names = found

    async def _put_slice(self, wanted: Object) -> None:
        metadata = wanted["metadata"]
        home = f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices"
        path = f"{home}/{metadata['name']}"
        if self._written.get(path) == wanted:
            return
        made = await self._http.put(path, json=wanted)
        if made.status_code == 404:
            await self._post(home, wanted)
        else:
            made.raise_for_status()
        self._written[path] = wanted

    async def _follow(self, service: Object) -> None:
        """Take connections at its address, once."""
        ip = service["spec"]["clusterIP"]
        for port in service["spec"]["ports"]:
            if port.get("protocol", "TCP") != "TCP" or (ip, port["port"]) in self._proxies:
                continue
            if not any(at == ip for at, _ in self._proxies):
                network.own(ip)

            def ready(service: Object = service, port: Object = port) -> list[Address]:
                home = service["metadata"]["namespace"]
                those = [
                    one.member
                    for one in self._pods.values()
                    if one.object["metadata"]["namespace"] == home
                ]
                return [
                    (one.address, slices.target_port(port, one.containers))
                    for one in slices.selected(service, those)
                    if one.ready
                ]

            self._proxies[(ip, port["port"])] = proxy = Proxy(ready, self._chance)
            await proxy.start(ip, port["port"])

    # --- the API ---

    async def _list(self, path: str) -> list[Object]:
        found: list[Object] = (await self._get(path))["items"]
        return found

    async def _get(self, path: str) -> Object:
        answer = await self._http.get(path)
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    async def _post(self, path: str, body: Object) -> Object:
        answer = await self._http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        made: Object = answer.json()
        return made

    async def _say(self, path: str, said: Object) -> None:
        """A status, when it is another one than before."""
        if self._written.get(path) == said:
            return
        answer = await self._http.patch(f"{path}/status", json={"status": said}, headers=MERGE)
        if answer.status_code != 404:
            answer.raise_for_status()
            self._written[path] = said
