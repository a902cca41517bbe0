"""An edge: documents as people write them, translated and served to one real Envoy.

What is declared may be changed while requests go through; `apply` comes back when the Envoy has
taken all of it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx

from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.model import Service, ServiceName, Verdict, fleet_of
from controlplane.resources import Declared
from controlplane.resources.gateway import Gateway
from controlplane.translate import TranslateOptions, Translator
from controlplane.translate.bootstrap import ads_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from controlplane.xds.status import Event, Nack
from tests.unit.resources.documents import read
from tests.unit.translate.scenes import all_services, even, grouped

FLEET = "default/edge"
DEADLINE_S = 30.0
Verdicts = Callable[[Sequence[Service]], Mapping[ServiceName, Verdict]]
"""The weights of services."""


def gateway(*listeners: str) -> str:
    """The Gateway `edge`; each listener is the inside of a YAML mapping."""
    rows = "".join(f"    - {{{one}}}\n" for one in listeners)
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        "spec:\n  gatewayClassName: weir\n  addresses: [{value: 127.0.0.1}]\n"
        f"  listeners:\n{rows}"
    )


def route(name: str, rules: str, *, hosts: str = "[]", parents: str = "[{name: edge}]") -> str:
    """An HTTPRoute; `rules` is a YAML list."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}}}\n"
        f"spec:\n  parentRefs: {parents}\n  hostnames: {hosts}\n  rules: {rules}\n"
    )


def backend(name: str, *ports: int) -> str:
    """A Backend on this machine."""
    rows = ", ".join(f"{{ip: {{address: 127.0.0.1, port: {port}}}}}" for port in ports)
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: Backend\n"
        f"metadata: {{name: {name}}}\nspec: {{endpoints: [{rows}]}}\n"
    )


def to(*parts: str) -> str:
    """`backendRefs` to Backends: a name, or more fields after it."""
    return "backendRefs: [" + ", ".join(f"{{name: {part}}}" for part in parts) + "]"


def policy(kind: str, name: str, target: str, spec: str) -> str:
    """A policy of Weir's; `target` is like `HTTPRoute/web` or `Gateway/edge/https`; `spec` is
    indented by two spaces."""
    of, _, rest = target.partition("/")
    called, _, section = rest.partition("/")
    group = "weir.dev" if of == "Backend" else "gateway.networking.k8s.io"
    part = f", sectionName: {section}" if section else ""
    return (
        f"apiVersion: weir.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
        f"  targetRefs: [{{group: {group}, kind: {of}, name: {called}{part}}}]\n{spec}"
    )


def secret(name: str, values: Mapping[str, bytes], kind: str = "Opaque") -> str:
    """A Secret."""
    rows = "".join(
        f"  {entry}: {base64.b64encode(value).decode()}\n" for entry, value in values.items()
    )
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: {kind}\ndata:\n{rows}"


@dataclass
class Edge:
    """A control plane in this process, and the Envoy that it configures."""

    cache: SnapshotCache
    server: XdsServer
    envoy: Envoy
    translator: Translator
    events: list[Event]
    found: Declared = field(default_factory=Declared)
    verdicts: Verdicts = even

    async def apply(
        self, *documents: str, deadline_s: float = DEADLINE_S, faults: Sequence[str] = ()
    ) -> None:
        """Declare these instead of what was declared, and wait until the Envoy has taken them.

        Documents that are refused, or lead nowhere, fail the test, but for these faults.
        """
        self.found = publish(
            self.cache, self.translator, *documents, faults=faults, verdicts=self.verdicts
        )
        await self.taken(deadline_s)

    async def weigh(self, backend: str, *weights: int) -> None:
        """Give each endpoint of a Backend a group with its weight, and the others equal ones."""
        services = all_services(self.found)
        verdicts = even(services)
        (one,) = (one for one in services if one.name == backend)
        verdicts[one.name] = grouped(one, range(len(weights)), weights)
        for snapshot in self.translator.snapshots(self.found, services, verdicts):
            self.cache.publish(snapshot)
        await self.taken()

    async def taken(self, deadline_s: float = DEADLINE_S) -> None:
        """Until the Envoy has taken the snapshot, all of it."""
        end_s = time.monotonic() + deadline_s
        while not self._has_taken():
            nacks = [one for one in self.events if isinstance(one, Nack)]
            assert not nacks, nacks[-1]
            assert time.monotonic() < end_s, [one.types for one in self.server.clients()]
            await asyncio.sleep(0.01)

    def _has_taken(self) -> bool:
        view = self.cache.view(FLEET) or {}
        types = [one for client in self.server.clients(FLEET) for one in client.types]
        return bool(types) and all(
            not one.waiting
            and (one.type_url not in view or one.acked_version == view[one.type_url].version)
            for one in types
        )

    def client(self, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401
        """A client of the Envoy that follows no redirects and believes no environment."""
        return httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S, **options)


def publish(
    cache: SnapshotCache,
    translator: Translator,
    *documents: str,
    faults: Sequence[str] = (),
    verdicts: Verdicts = even,
) -> Declared:
    """Make what these documents declare the snapshots of a cache.

    Each problem must have one of `faults` in its message, and each of these must be there.
    `verdicts` are the weights of endpoints.
    """
    loaded = read({"all.yaml": "---\n".join(documents)})
    said = [str(one) for one in loaded.problems]
    assert [one for one in said if not any(fault in one for fault in faults)] == []
    assert [fault for fault in faults if not any(fault in one for one in said)] == []
    services = all_services(loaded.declared)
    for snapshot in translator.snapshots(loaded.declared, services, verdicts(services)):
        cache.publish(snapshot)
    return loaded.declared


@contextlib.asynccontextmanager
async def edge(
    folder: Path,
    *documents: str,
    options: TranslateOptions | None = None,
    handlers: Sequence[grpc.GenericRpcHandler[bytes, bytes]] = (),
    boot: Mapping[str, Any] | None = None,
    faults: Sequence[str] = (),
    verdicts: Verdicts = even,
    **envoy_options: Any,  # noqa: ANN401 (of run_envoy)
) -> AsyncIterator[Edge]:
    """A running edge with these documents, all taken.

    `handlers` are served beside xDS, `boot` goes to `ads_bootstrap`.
    """
    cache, translator, events = SnapshotCache(), Translator(options), list[Event]()
    found = publish(cache, translator, *documents, faults=faults, verdicts=verdicts)
    group = fleet_of(found.all(Gateway))
    server = XdsServer(
        cache,
        address="127.0.0.1:0",
        node_group=lambda node: group(node.cluster),
        handlers=handlers,
        observer=lambda event: events.append(event),
    )
    await server.start()
    try:
        bootstrap = ads_bootstrap(
            node_id="envoy-1",
            fleet=FLEET,
            xds_port=server.port,
            admin_port=free_port(),
            **(boot or {}),
        )
        async with run_envoy(bootstrap, folder, **envoy_options) as envoy:
            made = Edge(cache, server, envoy, translator, events, found, verdicts)
            await made.taken()
            yield made
    finally:
        await server.stop(grace_s=0.1)


def trusting(*authorities: bytes, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """TLS of a client that believes these CAs, with a certificate of its own where one is given."""
    context = ssl.create_default_context(cadata=b"\n".join(authorities).decode())
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


async def until(
    look: Callable[[], Awaitable[bool]], deadline_s: float = DEADLINE_S, every_s: float = 0.05
) -> None:
    """Look again and again until it is so. Connections that fail are looks that found nothing."""
    end_s = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(httpx.TransportError, OSError):
            if await look():
                return
        assert time.monotonic() < end_s, "it did not come to pass"
        await asyncio.sleep(every_s)
