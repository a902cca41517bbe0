"""A cluster, as `weir serve --kubernetes` is joined to it: documents in, statuses out."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from controlplane.errors import WeirError
from controlplane.kubernetes.client import Api
from controlplane.kubernetes.events import Happened, Recorder
from controlplane.kubernetes.keeping import Keeps
from controlplane.kubernetes.lease import Lease
from controlplane.kubernetes.source import WAIT_S, KubernetesSource
from controlplane.kubernetes.status import Statuses
from controlplane.kubernetes.writer import StatusWriter
from controlplane.model import Leader, ServiceName, cluster_of
from controlplane.resources import Loaded
from controlplane.resources.conditions import Condition
from controlplane.resources.declared import ObjectKey
from controlplane.resources.earlier import Earlier
from controlplane.resources.service_backends import PORT

if TYPE_CHECKING:
    from controlplane.kubernetes.webhook.certificates import Pair
    from controlplane.kubernetes.webhook.upkeep import Upkeep

logger = structlog.get_logger(__name__)

LEASE = "weir-decider"
STATUS_S = 1.0
"""Between two passes over the statuses: so often may one object be written at most."""
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Conditions = Callable[[], Awaitable[Mapping[ObjectKey, tuple[Condition, ...]]]]


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster, and what of it."""

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = ""
    """This one alone; empty: all."""
    lease_namespace: str = ""
    """Empty: that of the pod."""
    address: str = ""
    """Where other replicas reach this one; empty: nowhere."""

    @property
    def own(self) -> str:
        """Where our Lease is."""
        return self.lease_namespace or os.environ.get("POD_NAMESPACE", "") or _pod_namespace()


class Frozen(Protocol):
    """What the kill switch holds."""

    @property
    def all(self) -> str | None:
        """Why everything is held; None where it is not."""
        ...

    @property
    def services(self) -> Mapping[ServiceName, str]:
        """Why some are."""
        ...


class Cluster:
    """Everything that `app` needs of it."""

    def __init__(
        self,
        place: Place,
        registry: CollectorRegistry,
        clock: Callable[[], float],
        keeps: Keeps | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        """`keeps`: where what is declared is kept for a start without lists within `wait_s`."""
        self._place = place
        self._clock = clock
        self._keeps = keeps
        self._wait_s = wait_s
        self._calls = Counter(
            "weir_kubernetes_calls",
            "Calls of the API of Kubernetes, by verb, what they are of, and status (0: no answer).",
            ["verb", "resource", "status"],
            registry=registry,
        )
        self._lists = Counter(
            "weir_kubernetes_lists",
            "How often all objects of a kind were listed, anew or again.",
            ["kind"],
            registry=registry,
        )
        leader = Gauge(
            "weir_kubernetes_decides", "1 where this replica decides.", registry=registry
        )
        leader.set_function(lambda: self.decides)
        stale = Gauge(
            "weir_kubernetes_stale",
            "1 while what was declared before the start is served: nothing was listed since.",
            registry=registry,
        )
        stale.set_function(lambda: self._stale is not None)
        left = Gauge(
            "weir_kubernetes_gateways_left_alone",
            "Gateways whose Envoys are left as they are, as Secrets that they need are not known.",
            registry=registry,
        )
        left.set_function(lambda: len(self._stale.declared.left_alone) if self._stale else 0)
        self.identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        """Who we are among the replicas."""
        self._api: Api | None = None
        self._source: KubernetesSource | None = None
        self._lease: Lease | None = None
        self._recorder: Recorder | None = None
        self._writer: StatusWriter | None = None
        self._statuses = Statuses()

    async def open(self, informed: Callable[[], Awaitable[None]] | None = None) -> None:
        """`informed` waits until other replicas have said what they know (`KubernetesSource`).
        Raises `StartupError` where nothing says where the cluster is."""
        place = self._place
        self._api = api = await Api.connect(place.kubeconfig, place.context, self._count)
        chance = random.Random()  # noqa: S311
        self._source = source = KubernetesSource(
            api,
            namespace=place.namespace,
            clock=self._clock,
            chance=chance,
            relisted=lambda kind: self._lists.labels(kind).inc(),
            keeps=self._keeps,
            wait_s=self._wait_s,
            informed=informed,
        )
        self._lease = Lease(
            api,
            namespace=place.own,
            name=LEASE,
            identity=self.identity,
            clock=self._clock,
            now=micro_now,
            chance=chance,
            address=place.address,
        )
        self._recorder = Recorder(
            api,
            lambda: source.seen.held,
            self.identity,
            clock=self._clock,
            now=micro_now,
            unique=lambda: secrets.token_hex(8),
        )
        self._writer = StatusWriter(api, lambda: source.objects, now)

    async def close(self) -> None:
        """Let the lease and the connections go."""
        if self._lease is not None:
            await self._lease.release()
        if self._api is not None:
            await self._api.close()

    @property
    def _stale(self) -> Loaded | None:
        return self._source.stale if self._source is not None else None

    @property
    def _term(self) -> int | None:
        """The epoch in which this replica decides; None where it does not."""
        return self._lease.epoch if self._lease is not None and self._lease.holds else None

    @property
    def decides(self) -> bool:
        """Whether this replica is the one that decides."""
        return self._lease is not None and self._lease.holds

    @property
    def leader(self) -> Leader | None:
        """Who does, as of the last look at the lease; None: nobody."""
        return self._lease.leader if self._lease is not None else None

    @property
    def why_not(self) -> str | None:
        """Why it does not decide; None where it does."""
        if self.decides:
            return None
        holder = self._lease.holder if self._lease is not None else ""
        return f"another replica decides: {holder}" if holder else "no replica decides yet"

    def watch(self, policies: Collection[str] | None = None) -> AsyncGenerator[Loaded]:
        """What is declared, as a `DocumentSource` has it."""
        assert self._source is not None
        return self._source.watch(policies)

    @property
    def offered(self) -> Mapping[str, Earlier]:
        """The last valid versions of what is refused, for other replicas."""
        return self._source.offered if self._source is not None else {}

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> None:
        """Another replica has these. `leads`: the one that decides does."""
        if self._source is not None:
            self._source.hear(told, leads=leads)

    async def lead(self) -> None:
        """For ever: reach for the lease, and renew it."""
        assert self._lease is not None
        await self._lease.run()

    async def record(self) -> None:
        """For ever: write events."""
        assert self._recorder is not None
        await self._recorder.run()

    async def report(
        self,
        loaded: Callable[[], Loaded | None],
        conditions: Conditions,
        knows: Callable[[], bool] = lambda: True,
    ) -> None:
        """For ever: the replica that decides writes statuses, where they changed, once it `knows`
        of the Envoys of all replicas; not of what is not `loaded` yet, or each route would say that
        it waits, and a moment later that it has it."""
        assert self._source is not None
        assert self._writer is not None
        while True:
            await asyncio.sleep(STATUS_S)
            seen, term = self._source.seen, self._term
            if term is None or not knows() or seen.loaded is not loaded():
                continue
            try:
                found = await conditions()
            except WeirError as error:
                logger.warning("nobody can tell how far the Envoys are", why=str(error))
                continue
            self._tell_refusals(found)
            newest = self._source.objects.all()
            due = self._statuses.due(seen.loaded, found, seen.held, newest, now())
            await self._writer.write(due, lambda term=term: self._term == term)  # type: ignore[misc]

    def upkeep(
        self, configuration: str, wall_clock: Callable[[], float], show: Callable[[Pair, str], None]
    ) -> Upkeep:
        """Who looks after the certificate of the webhook that this configuration has. `show` is
        told what is to be shown, and of which Secret it is."""
        from controlplane.kubernetes.webhook.upkeep import Upkeep, Where  # slow: cryptography

        assert self._api is not None
        where = Where(configuration, self._place.own, f"{configuration}-webhook")
        return Upkeep(
            self._api,
            where,
            lambda pair: show(pair, f"{where.namespace}/{where.secret}"),
            wall_clock=wall_clock,
            chance=random.Random(),  # noqa: S311
        )

    def happened(self, happened: Happened) -> None:
        """An event, if this replica is the one that tells."""
        if self._recorder is not None and self.decides:
            self._recorder.tell(happened)

    def taken_back(self, fleet: str, why: str) -> None:
        """A push to a fleet was taken back."""
        self.happened(Happened(ObjectKey("Gateway", fleet), "RolledBack", why))

    def switched(self, before: Frozen, after: Frozen, gateways: Iterable[str]) -> None:
        """What was frozen, and what was resumed."""
        if before.all != after.all:
            for key in gateways:
                self._frozen(ObjectKey("Gateway", key), after.all)
        for service in sorted(before.services.keys() | after.services.keys()):
            if before.services.get(service) != after.services.get(service):
                self._frozen(object_of(service), after.services.get(service))

    def _frozen(self, key: ObjectKey, why: str | None) -> None:
        if why is not None:
            self.happened(Happened(key, "Frozen", why))
        else:
            self.happened(Happened(key, "Resumed", "weights may move again", "Normal"))

    def _tell_refusals(self, found: Mapping[ObjectKey, tuple[Condition, ...]]) -> None:
        for key, each in found.items():
            for one in each:
                refused = one.type == "Programmed" and one.status is False
                if key.kind == "Gateway" and not one.part and refused and one.reason == "Invalid":
                    self.happened(Happened(key, "Refused", one.message))

    def _count(self, verb: str, what: str, status: int) -> None:
        self._calls.labels(verb, what, str(status)).inc()


def object_of(service: ServiceName) -> ObjectKey:
    """The object that a service is: a Backend, or the Service whose port it is.

    >>> str(object_of(ServiceName("shop/carts"))), str(object_of(ServiceName("shop/carts:80")))
    ('Backend shop/carts', 'Service shop/carts')
    """
    name, port, _ = cluster_of(service).partition(PORT)
    return ObjectKey("Service" if port else "Backend", name)


def now() -> str:
    """The time of day, as conditions have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_now() -> str:
    """The same with microseconds, as leases and events have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _pod_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip() or "default"
    except OSError:
        return "default"
