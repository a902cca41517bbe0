from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager

from controlplane.discovery import Discovery, NameSettings
from controlplane.discovery.watch import Sets
from controlplane.resources import Declared
from tests.unit.resources.documents import BACKEND, read

DEADLINE_S = 20.0
QUICK = NameSettings(period_s=0.02, retry_s=0.01, grace_s=0.3, debounce_s=0.01)


def backend(name: str, *places: str) -> str:
    head = BACKEND.partition("  endpoints:")[0].replace("{name: web}", f"{{name: {name}}}")
    rows = [
        f"    - ip: {{address: {place}, port: 80}}\n"
        if place[0].isdigit()
        else f"    - fqdn: {{hostname: {place}, port: 80}}\n      zone: z\n"
        for place in places
    ]
    return head + "  endpoints:\n" + "".join(rows or ["    []\n"])


def declared(*documents: str) -> Declared:
    loaded = read({"all.yaml": "---\n".join(documents)})
    assert loaded.problems == ()
    return loaded.declared


class Zonefile:
    """A resolver whose answers the test writes."""

    def __init__(self, **answers: tuple[str, ...] | OSError | None) -> None:
        self.answers = answers
        self.asked = 0
        self.hanging = asyncio.Event()

    async def __call__(self, hostname: str) -> tuple[str, ...]:
        self.asked += 1
        answer = self.answers[hostname]
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            self.hanging.set()
            await asyncio.Event().wait()  # for ever
        assert answer is not None
        return answer


class Watched:
    """Looks until something holds."""

    def __init__(self, discovery: Discovery, stream: AsyncIterator[Sets]) -> None:
        self.discovery = discovery
        self.stream = stream
        self.seen: list[Mapping[str, list[str]]] = []

    async def until(self, holds: Callable[[Mapping[str, list[str]]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not (self.seen and holds(self.seen[-1])):
                sets = await anext(self.stream)
                self.seen.append(
                    {name: [one.address for one in many] for name, many in sets.items()}
                )

    async def becomes(self, **sets: list[str]) -> None:
        await self.until(lambda seen: seen == {f"default/{k}": v for k, v in sets.items()})


@asynccontextmanager
async def watching(
    resolve: Zonefile,
    known: Mapping[str, tuple[str, ...]] | None = None,
    settings: NameSettings = QUICK,
) -> AsyncIterator[Watched]:
    loop = asyncio.get_running_loop()
    discovery = Discovery(
        resolve, clock=loop.time, chance=random.Random(1), settings=settings, known=known
    )
    async with aclosing(discovery.watch()) as stream:
        yield Watched(discovery, stream)


async def test_addresses_are_in_force_at_once_and_gone_at_once() -> None:
    async with watching(Zonefile()) as watched:
        watched.discovery.declare(declared(backend("a", "10.0.0.1", "10.0.0.2")))
        await watched.becomes(a=["10.0.0.1", "10.0.0.2"])
        watched.discovery.declare(declared(backend("a", "10.0.0.2"), backend("b", "10.0.0.3")))
        await watched.becomes(a=["10.0.0.2"], b=["10.0.0.3"])
        assert len(watched.seen) == 2


async def test_all_endpoints_taken_out_on_purpose_is_an_empty_set() -> None:
    async with watching(Zonefile()) as watched:
        watched.discovery.declare(declared(backend("a", "10.0.0.1")))
        await watched.becomes(a=["10.0.0.1"])
        watched.discovery.declare(declared(backend("a")))
        await watched.becomes(a=[])


async def test_the_first_sets_are_complete() -> None:
    zone = Zonefile(n=("10.0.0.2", "10.0.0.1"))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "10.9.9.9"), backend("b", "n")))
        await watched.becomes(a=["10.9.9.9"], b=["10.0.0.1", "10.0.0.2"])
        assert len(watched.seen) == 1


async def test_a_name_that_cannot_be_resolved_at_first_leaves_its_backend_out() -> None:
    zone = Zonefile(n=OSError("no answer"))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "10.9.9.9"), backend("b", "n")))
        await watched.becomes(a=["10.9.9.9"])
        zone.answers["n"] = ("10.0.0.1",)
        await watched.becomes(a=["10.9.9.9"], b=["10.0.0.1"])


async def test_new_answers_take_the_place_of_old_ones() -> None:
    zone = Zonefile(n=("10.0.0.1", "10.0.0.2"))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "n")))
        await watched.becomes(a=["10.0.0.1", "10.0.0.2"])
        zone.answers["n"] = ("10.0.0.2", "10.0.0.3")
        await watched.becomes(a=["10.0.0.2", "10.0.0.3"])


async def test_a_failing_resolver_changes_nothing_however_long() -> None:
    zone = Zonefile(n=("10.0.0.1",), m=("10.0.0.5",))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "n"), backend("b", "m")))
        await watched.becomes(a=["10.0.0.1"], b=["10.0.0.5"])
        zone.answers["n"] = OSError("server failure")
        asked = zone.asked
        await asyncio.sleep(0)
        zone.answers["m"] = ("10.0.0.6",)
        await watched.becomes(a=["10.0.0.1"], b=["10.0.0.6"])
        await asyncio.sleep(2 * QUICK.grace_s)
        zone.answers["m"] = ("10.0.0.7",)
        await watched.becomes(a=["10.0.0.1"], b=["10.0.0.7"])
        assert zone.asked > asked


async def test_a_name_that_is_gone_leaves_after_a_grace_but_never_the_last() -> None:
    zone = Zonefile(n=("10.0.0.1",), m=("10.0.0.5",))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "n", "m"), backend("b", "n")))
        await watched.becomes(a=["10.0.0.1", "10.0.0.5"], b=["10.0.0.1"])
        zone.answers["n"] = ()
        await watched.becomes(a=["10.0.0.5"], b=["10.0.0.1"])


async def test_a_name_taken_out_of_the_document_is_gone_at_once() -> None:
    zone = Zonefile(n=("10.0.0.1",), m=("10.0.0.5",))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "n", "m")))
        await watched.becomes(a=["10.0.0.1", "10.0.0.5"])
        watched.discovery.declare(declared(backend("a", "m")))
        await watched.becomes(a=["10.0.0.5"])


async def test_a_backend_that_turns_to_a_name_keeps_its_endpoints_until_it_resolves() -> None:
    zone = Zonefile(n=OSError("not yet"))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "10.0.0.1")))
        await watched.becomes(a=["10.0.0.1"])
        watched.discovery.declare(declared(backend("a", "n"), backend("b", "10.0.0.2")))
        await watched.becomes(a=["10.0.0.1"], b=["10.0.0.2"])
        zone.answers["n"] = ("10.0.0.9",)
        await watched.becomes(a=["10.0.0.9"], b=["10.0.0.2"])


async def test_addresses_known_from_an_earlier_life_stand_while_dns_is_down() -> None:
    zone = Zonefile(n=OSError("down"))
    async with watching(zone, known={"n": ("10.0.0.1",), "unused": ("10.0.0.2",)}) as watched:
        watched.discovery.declare(declared(backend("a", "n")))
        await watched.becomes(a=["10.0.0.1"])
        assert watched.discovery.addresses == {"n": ("10.0.0.1",)}


async def test_an_address_that_comes_up_twice_counts_once() -> None:
    zone = Zonefile(n=("10.0.0.1", "10.0.0.2"))
    async with watching(zone) as watched:
        watched.discovery.declare(declared(backend("a", "10.0.0.1", "n")))
        await watched.becomes(a=["10.0.0.1", "10.0.0.2"])


async def test_a_resolver_that_never_answers_does_not_hold_up_the_end() -> None:
    zone = Zonefile(n=None)
    async with asyncio.timeout(DEADLINE_S):
        async with watching(zone) as watched:
            watched.discovery.declare(declared(backend("a", "n")))
            first = asyncio.create_task(watched.until(bool))
            await zone.hanging.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
