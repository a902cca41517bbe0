"""Two hundred changes under load, through the real Envoy: certificates, routes, endpoints,
Backends, policies of every kind, listeners. Each is acknowledged, and no request fails.

Every slot holds one of several documents, or something new each time. Which slot changes next is
drawn with a seed; a request that fails tells which change was the last.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from controlplane.cli.envoy_admin import running
from controlplane.front.proxies import resources
from controlplane.inspection.compare import Difference, Kind, compare
from controlplane.inspection.patching import patched
from controlplane.inspection.weir import read_resources
from controlplane.lab.envoy import free_port
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import rules
from controlplane.translate import TranslateOptions
from controlplane.translate.types import LISTENER
from controlplane.xds.rate_limits import RateLimitService
from controlplane.xds.status import Nack
from controlplane.xds.telemetry import TelemetryMetrics
from tests.certificates import Authority
from tests.envoy import changes
from tests.envoy.changes import all_of
from tests.envoy.edge import FLEET, Edge, backend, edge, gateway, route, secret, to, until
from tests.envoy.identities import htpasswd, page, serving
from tests.envoy.inspector import inspecting
from tests.envoy.origin import Origin, listen
from tests.envoy.steady import Customer, Load
from tests.envoy.test_backend_tls import OURS, backend_tls
from tests.envoy.test_https import https, tls_secret
from tests.envoy.test_tls import config_map

pytestmark = pytest.mark.envoy

CHANGES = 200
SEED = 4
DRAIN_S = 10
"""How long Envoy lets connections of a listener that changed go on."""
PATHS = (
    *("/", "/extra/1", "/extra/2", "/passing", "/secure", "/granted", "/filtered"),
    "/?q=1",
)
"""Each is answered whatever is declared: where no other route has it, by that of all paths."""

Step = tuple[str, str]
"""What a slot holds now, in words, and as documents."""
Slot = AsyncIterator[Step]


class Guest(Origin):
    """An origin that comes and goes, and knows how many are connected to it."""

    connected = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            await super().serve(reader, writer)
        finally:
            self.connected -= 1

    async def is_left(self) -> bool:
        """Whether nobody is connected any more."""
        return not self.connected


@dataclass
class Guests:
    """Origins that run while they are declared."""

    running: dict[Guest, AsyncExitStack] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=count)

    async def new(self, tls: ssl.SSLContext | None = None) -> int:
        """The port of another one."""
        guest, stack = Guest(f"guest-{next(self._numbers)}"), AsyncExitStack()
        await listen(stack, guest, tls)
        self.running[guest] = stack
        return guest.port

    async def part_from(self, declared: str) -> None:
        """Those that are declared no more end, once Envoy has let go of them."""
        for guest in [one for one in self.running if f"port: {one.port}" not in declared]:
            await until(guest.is_left, every_s=0.005)
            await self.running.pop(guest).aclose()

    async def end(self) -> None:
        """All of them end."""
        for stack in self.running.values():
            await stack.aclose()


async def in_turn(documents: Mapping[str, str], *, back: bool = False) -> Slot:
    """One after the other, again and again; the last first where they go `back`."""
    for step in cycle([*documents.items()][:: -1 if back else 1]):
        yield step


@dataclass
class Site:
    """What is declared, slot by slot, and what may come next in each."""

    port: int
    ca: Authority
    tls: ssl.SSLContext
    """Of origins that speak it, as secure.test."""
    keys_at: int
    """Port of the server that hands out keys of tokens."""
    guests: Guests
    held: dict[str, str]

    @property
    def documents(self) -> list[str]:
        """All that is declared."""
        return [one for one in self.held.values() if one]

    def slots(self) -> dict[str, Slot]:
        """What may change while no listener does."""
        a, b, at_b = "HTTPRoute/a", "HTTPRoute/b", "Gateway/edge/b"
        access = {**changes.ACCESS, "fetched keys": changes.fetched(self.keys_at)}
        of_b = {**changes.TRAFFIC, **changes.SESSIONS}
        return {
            "certificate of a": self.certificates("a"),
            "certificate of b": self.certificates("b"),
            "API keys": self.keys(),
            "endpoints of one": self.endpoints("one"),
            "endpoints of two": self.endpoints("two"),
            "endpoints of who is asked": self.endpoints("asked"),
            "a Backend that passes by": self.passing(),
            "a Backend with TLS": self.secure(),
            "a Backend of another team": self.granted(),
            "routes of a": in_turn(changes.ROUTES),
            "more routes": in_turn(changes.MORE_ROUTES),
            "filters": in_turn({what: changes.filtered(x) for what, x in changes.STATIC.items()}),
            "access to a": in_turn(all_of("SecurityPolicy", "a", a, access)),
            "access to b": in_turn(all_of("SecurityPolicy", "b", b, access), back=True),
            "traffic of a": in_turn(all_of("TrafficPolicy", "a", a, changes.TRAFFIC)),
            "traffic of b": in_turn(all_of("TrafficPolicy", "b", b, of_b), back=True),
            "traffic to one": self.connections("one"),
            "traffic to two": self.connections("two", back=True),
            "traffic to who is asked": self.connections("asked"),
            "traffic to the inspector": self.connections("inspector", back=True),
            "balancing": in_turn(
                all_of("BalancingPolicy", "one", "Backend/one", changes.BALANCING)
            ),
            "addresses": in_turn(all_of("ClientPolicy", "b", at_b, changes.ADDRESSES)),
            "patches of routes": in_turn(changes.patches_of_routes(self.port)),
        }

    def slots_of_listeners(self) -> dict[str, Slot]:
        """What changes a listener, so that its connections drain."""
        at_a = "Gateway/edge/a"
        return {
            "listeners": self.listeners(),
            "clients": in_turn(all_of("ClientPolicy", "a", at_a, changes.CLIENTS)),
            "patches of listeners": in_turn(changes.patches_of_listeners(self.port)),
        }

    def connections(self, name: str, *, back: bool = False) -> Slot:
        made = all_of("TrafficPolicy", name, f"Backend/{name}", changes.CONNECTIONS)
        return in_turn(made, back=back)

    async def certificates(self, name: str) -> Slot:
        while True:
            yield "another", tls_secret(name, self.ca.issue(dns=[f"{name}.test"]))

    async def keys(self) -> Slot:
        for number in count():
            others = {"ben": f"key-number-{number}".encode()}
            yield "one is another", secret("keys", {"ann": b"key-of-ann", **others})

    async def endpoints(self, name: str) -> Slot:
        while True:
            first = [await self.guests.new(), await self.guests.new()]
            yield "all are others", backend(name, *first)
            more = [await self.guests.new(), await self.guests.new()]
            yield "more", backend(name, *first, *more)
            some = backend(name, *first, *more)
            for port in first:
                some = some.replace(f"port: {port}}}", f"port: {port}}}, draining: true")
            yield "some drain", some
            yield "some are gone", backend(name, *more)

    async def passing(self) -> Slot:
        while True:
            for name in ("early", "late"):
                its = backend(name, await self.guests.new())
                way = changes.own_route("passing", "/passing", to(name))
                yield f"{name} is there", f"{its}---\n{way}"
            yield "gone", ""

    async def secure(self) -> Slot:
        way = changes.own_route("secure", "/secure", to("secure"))
        while True:
            its = backend("secure", await self.guests.new(self.tls))
            for more in ("", ", subjectAltNames: [{type: Hostname, hostname: secure.test}]"):
                believed = backend_tls("secure", f"{OURS}, hostname: secure.test{more}")
                yield f"there{more}", f"{its}---\n{way}---\n{believed}"
            yield "gone", ""

    async def granted(self) -> Slot:
        while True:
            yield "there", changes.granted(await self.guests.new())
            yield "gone", ""

    async def listeners(self) -> Slot:
        both = [https(name, self.port, name, f"{name}.test") for name in ("a", "b")]
        another = f"name: plain, port: {free_port()}, protocol: HTTP"
        found = {
            "of two names": gateway(*both),
            "of one more name": gateway(*both, https("c", self.port, "a", "c.test")),
            "on one more port": gateway(*both, another),
        }
        async for step in in_turn(found):
            yield step


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """With what stays."""
    ca, guests, port = Authority(), Guests(), free_port()
    tls = serving(ca.issue(dns=["secure.test"]), folder / "secure")
    held = {
        "users": secret("users", {".htpasswd": htpasswd(ann="password-of-ann")}),
        "CAs": config_map("ours", ca.pem),
        "routes of b": route("b", f"[{{{to('two')}}}]", parents="[{name: edge, sectionName: b}]"),
    }
    async with page(changes.ALICE.jwks) as keys, inspecting() as inspector:
        held["inspector"] = backend("inspector", inspector.port)
        try:
            yield Site(port, ca, tls, keys.port, guests, held)
        finally:
            await guests.end()


def customers() -> list[Customer]:
    """By both protocols, on connections that last and on those that do not, of both hosts."""
    return [
        Customer(f"{version} to {host}{'' if lasting else ', anew each time'}",
                 f"{host}.test", PATHS if host == "a" else ("/",), changes.CREDENTIALS,
                 version, lasting)
        for version in ("http/1.1", "h2")
        for host in ("a", "b")
        for lasting in (True, False)
    ]  # fmt: skip


def drawn(usual: Sequence[str], of_listeners: Sequence[str]) -> Sequence[str]:
    """Which slots change, one after the other: each as often as any other, and those of listeners
    so often that they are a tenth of all."""
    draw, names = random.Random(SEED), list[str]()
    while len(names) < CHANGES:
        some = [*usual, *draw.sample(of_listeners, 2)]
        names += draw.sample(some, len(some))
    return names[:CHANGES]


@dataclass
class Changing:
    """A site, served to an Envoy, while customers come."""

    site: Site
    made: Edge
    limiter: Limiter
    load: Load
    usual: Mapping[str, Slot]
    of_listeners: Mapping[str, Slot]

    async def turn(self, name: str) -> str:
        """What is next in a slot, in words; it is in force."""
        what, self.site.held[name] = await anext({**self.usual, **self.of_listeners}[name])
        await self.made.apply(*self.site.documents)
        self.limiter.know(rules(self.made.found))
        if name.startswith("access"):
            await until(lambda: self._lets_strangers_in(name[-1], what in changes.OPEN))
        await self.site.guests.part_from("".join(self.site.documents))
        return f"{name}: {what}"

    async def _lets_strangers_in(self, host: str, wanted: bool) -> bool:
        stranger = Customer("a stranger", f"{host}.test", ("/",))
        return (await self.load.status(stranger) == 200) == wanted

    def version_of_listeners(self) -> str:
        """As it was published last."""
        view = self.made.cache.view(FLEET)
        assert view is not None
        return str(view[LISTENER].version)

    async def lacks(self) -> Sequence[Difference]:
        """What the Envoy should run and, by its own account, does not. What it runs beside that is
        of listeners that drain."""
        wanted = resources(self.made.server.connections(), "envoy-1", "intended", None)
        assert wanted is not None
        there = await asyncio.to_thread(running, self.made.envoy.admin, "envoy-1")
        found = compare(read_resources(wanted), there)
        assert found.compared
        return [one for one in found.differences if one.kind is not Kind.EXTRA]


@asynccontextmanager
async def changing(folder: Path) -> AsyncIterator[Changing]:
    """An edge whose slots hold their first."""
    registry = CollectorRegistry()
    limiter = Limiter(MemoryCounters(), LimitMetrics(registry))
    service = RateLimitService(limiter, TelemetryMetrics(registry))
    async with site(folder) as at:
        usual, of_listeners = at.slots(), at.slots_of_listeners()
        for name, slot in {**usual, **of_listeners}.items():
            _, at.held[name] = await anext(slot)
        async with edge(
            folder,
            *at.documents,
            options=TranslateOptions(patcher=patched),
            handlers=[service.handler()],
            arguments=("--drain-time-s", str(DRAIN_S)),
        ) as made:
            yield Changing(at, made, limiter, Load(at.port, at.ca.pem), usual, of_listeners)


async def test_no_request_fails_while_everything_changes(tmp_path: Path) -> None:
    async with changing(tmp_path) as it:
        load, drained = it.load, 0
        await until(lambda: it._lets_strangers_in("a", True))
        async with load.by(*customers()):
            for number, name in enumerate(drawn([*it.usual], [*it.of_listeners])):
                before = it.version_of_listeners()
                load.during = f"change {number} of {CHANGES}, {await it.turn(name)}, and after it"
                changed = it.version_of_listeners() != before
                assert changed == (name in it.of_listeners), load.during
                drained += changed
        assert load.failed == []
        assert await it.lacks() == []
        assert not [one for one in it.made.events if isinstance(one, Nack)]
        told = await it.made.envoy.stats("update_success|listener_modified|downstream_cx_drain")
        for kind, least in (("listener_manager.lds", 10), (".rds.", 50), ("sds.", 10)):
            assert sum(told[one] for one in told if kind in one) >= least, told
        assert drained >= 10
        for one in customers():
            assert load.answered[one.name] > CHANGES / 2, load.answered
            if one.lasting:  # it was told to go, and came back
                assert load.connections[one.name] > 1, load.connections
