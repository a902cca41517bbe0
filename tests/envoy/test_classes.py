"""Classes of requests through the real Envoy: who belongs to which, and who is shed first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.edge import Edge, backend, edge, gateway, policy, route, secret, to, until
from tests.envoy.examples import example
from tests.envoy.identities import Issuer
from tests.envoy.origin import ask, running

pytestmark = pytest.mark.envoy

LIMIT = {"bronze": 10, "silver": 20}
SEVERAL = 60
"""Requests of each class at a time: more than any class may have."""


class Slow:
    """Answers when it is let; until then requests pile up."""

    def __init__(self, name: str) -> None:
        self.name, self.port, self.waiting = name, 0, 0
        self.open = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.waiting += 1
                await self.open.wait()
                self.waiting -= 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Shop:
    """The example, served."""

    def __init__(self, made: Edge, port: int, origins: Mapping[str, Slow]) -> None:
        self.made, self.port, self.origins = made, port, origins

    @property
    def waiting(self) -> int:
        """Requests that are at an origin."""
        return sum(one.waiting for one in self.origins.values())

    def let(self) -> None:
        """Answer from now on."""
        for one in self.origins.values():
            one.open.set()

    async def send(self, plan: str = "", source: str = "127.0.0.1") -> tuple[int, bool]:
        """One request on a connection of its own: its status, and whether Envoy said overloaded."""
        line = f"x-plan: {plan}\r\n" if plan else ""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )
        try:
            writer.write(f"GET / HTTP/1.1\r\nhost: x\r\n{line}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        finally:
            writer.close()
        return int(head.split()[1]), "x-envoy-overloaded: true" in head

    async def counted(self, name: str) -> int:
        """Requests of a class that were sent on or refused, as Envoy counts them."""
        stats = await self.made.envoy.stats(f"route.default/plans/{name}.upstream_rq_completed")
        return sum(stats.values())


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[Shop]:
    """The example through a real Envoy."""
    port = free_port()
    async with running(Slow("one"), Slow("two")) as origins:
        ports = {10080: port, 8081: origins["one"].port, 8082: origins["two"].port}
        documents = example("11-gold-and-bronze", ports)
        headers = "  headers: {enableEnvoyHeaders: true}\n"
        told = policy("ClientPolicy", "told", "Gateway/edge", headers)
        async with edge(folder, *documents, told) as made:
            yield Shop(made, port, origins)


async def test_at_overload_the_lowest_class_is_shed_and_gold_loses_nothing(tmp_path: Path) -> None:
    async with shop(tmp_path) as one:
        plans = ("bronze", "silver", "gold")
        async with asyncio.timeout(60):
            sent = {
                plan: [asyncio.create_task(one.send(plan)) for _ in range(SEVERAL)]
                for plan in plans
            }
            # Nobody is answered yet but those that are refused.
            kept = LIMIT["bronze"] + LIMIT["silver"] + SEVERAL
            await until(lambda: _is(one.waiting == kept and _done(sent) == 3 * SEVERAL - kept))
            one.let()
            answers = {plan: Counter(await asyncio.gather(*sent[plan])) for plan in plans}
        assert answers["gold"] == {(200, False): SEVERAL}
        for plan, limit in LIMIT.items():
            assert answers[plan] == {(200, False): limit, (503, True): SEVERAL - limit}, plan


async def _is(this: bool) -> bool:
    return this


def _done(sent: Mapping[str, list[asyncio.Task[tuple[int, bool]]]]) -> int:
    return sum(task.done() for tasks in sent.values() for task in tasks)


async def test_a_class_is_known_by_header_or_by_address_and_the_rest_is_the_last(
    tmp_path: Path,
) -> None:
    async with shop(tmp_path) as one:
        one.let()
        await one.send("gold")
        await one.send("silver", source="127.9.1.1")  # the first that fits counts
        await one.send(source="127.9.1.1")
        await one.send("bronze")
        await one.send("platinum", source="127.8.1.1")
        counted = {name: await one.counted(name) for name in ("gold", "silver", "office", "bronze")}
        assert counted == {"gold": 1, "silver": 1, "office": 1, "bronze": 2}
        clusters = await one.made.envoy.stats(r"^cluster\.default/shop.*upstream_rq_total")
        assert {name.split(".")[1]: count for name, count in clusters.items()} == {
            "default/shop": 2,
            "default/shop#default/plans/silver": 1,
            "default/shop#default/plans/bronze": 2,
        }


async def test_a_class_is_that_of_a_claim_or_an_api_key_and_not_what_a_client_writes(
    tmp_path: Path,
) -> None:
    port, issuer = free_port(), Issuer("https://plans.test")
    claims = (
        f"  jwt:\n    optional: true\n    providers:\n      - name: plans\n"
        f"        issuer: '{issuer.name}'\n"
        f"        localJWKS: {{type: Inline, inline: '{issuer.jwks}'}}\n"
        "        claimToHeaders: [{header: x-plan, claim: plan}]\n"
    )
    keys = (
        "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}], "
        "forwardClientIDHeader: x-plan}\n"
    )
    gold = (
        "  classes:\n    - name: gold\n      match: {headers: [{name: x-plan, value: gold}]}\n"
        "      circuitBreaker: {maxParallelRequests: 100}\n"
    )
    async with running(Slow("one")) as origins:
        origins["one"].open.set()
        documents = [
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            backend("web", origins["one"].port),
            route("claim", f"[{{{to('web')}}}]", hosts="[claim.test]"),
            route("key", f"[{{{to('web')}}}]", hosts="[key.test]"),
            secret("keys", {"gold": b"key-of-gold", "bronze": b"key-of-bronze"}),
            policy("SecurityPolicy", "claim", "HTTPRoute/claim", claims),
            policy("SecurityPolicy", "key", "HTTPRoute/key", keys),
            policy("TrafficPolicy", "plans", "Gateway/edge", gold),
        ]
        async with edge(tmp_path, *documents) as made:
            counted = r"^cluster\.default/web.default/plans/gold\.upstream_rq_total"

            async def golden(host: str, **headers: str) -> bool:
                """Whether a request, which is let in, is sent as one of the class."""
                before = await made.envoy.stats(counted)
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                assert set(await ask(port, host=host, headers=sent)) == {(200, "")}
                after = await made.envoy.stats(counted)
                return sum(after.values()) > sum(before.values())

            assert await golden("claim.test", **issuer.bearer(plan="gold"))
            assert not await golden("claim.test", **issuer.bearer(plan="bronze"))
            assert not await golden("claim.test", x_plan="gold", **issuer.bearer(plan="bronze"))
            assert await golden("key.test", x_key="key-of-gold")
            assert await golden("key.test", x_key="key-of-gold", x_plan="bronze")
            assert not await golden("key.test", x_key="key-of-bronze", x_plan="gold")
            # Who has no token is in no class by a header that only tokens set.
            assert not await golden("claim.test", x_plan="gold")
