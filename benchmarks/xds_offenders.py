"""Clients that break the rules of xDS, or that try to wear the server out: a table of storms.

Each storm runs for a few seconds in a process of its own, started by `xds_storms`, and counts how
its streams ended: the gRPC status and message, or that they were served.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.xds_http2 import connected, deaf, pings, resets
from benchmarks.xds_talk import (
    DELTA,
    NODE,
    SERVED,
    SOTW,
    WEB,
    Here,
    chat,
    delta,
    ended,
    flood,
    numbered,
    says,
    sotw,
    stream,
)
from controlplane._pb.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from controlplane.xds.kinds import CLUSTER, ENDPOINT, EXTENSION, RUNTIME, VIRTUAL_HOST
from controlplane.xds.stream import MAX_NAMES, MAX_TYPES


@dataclass(frozen=True)
class Storm:
    """What some clients do at the same time."""

    name: str
    what: str
    run: Callable[[Here], Awaitable[None]]
    clients: int = 10
    seconds: float = 3.0

    async def rage(self, port: int) -> Here:
        here = Here(port, self.seconds)
        await asyncio.gather(*(self.run(here) for _ in range(self.clients)))
        return here


# What they do

_BAD = {"code": 3, "message": "no, " * 500}


def _refuses(nonce: str, _: int) -> bytes:
    return sotw(names=WEB, response_nonce=nonce, error_detail=_BAD)


def _refuses_delta(nonce: str, _: int) -> bytes:
    return delta(response_nonce=nonce, error_detail=_BAD)


def _stale(_: str, number: int) -> bytes:
    return sotw(names=(f"cluster-{number % 10}",), response_nonce="stale")


def _subscribes(nonce: str, number: int) -> bytes:
    return sotw(names=numbered(10, f"{number % 1000}"), response_nonce=nonce)


def _asks_again(nonce: str, _: int) -> tuple[bytes, ...]:
    return (sotw(CLUSTER, response_nonce=nonce),) * 2


def _asks_again_delta(nonce: str, number: int) -> tuple[bytes, ...]:
    """Drops a name and takes it again, and acknowledges."""
    name = f"name-{number % 50}"
    dropped = DeltaDiscoveryRequest(
        type_url=CLUSTER, response_nonce=nonce, resource_names_unsubscribe=[name]
    )
    return dropped.SerializeToString(), delta(CLUSTER, (name,), response_nonce=nonce)


def _new_names(nonce: str, number: int) -> tuple[bytes, ...]:
    """As many short names as a request has that the server may remember; none twice."""
    names = tuple(f"{number:x}{each:x}" for each in range(2000))
    return (sotw(CLUSTER, names, response_nonce=nonce),)


def _long_name(nonce: str, number: int) -> tuple[bytes, ...]:
    return (sotw(RUNTIME, (f"{number}" + "x" * 1_000_000,), response_nonce=nonce),)


def _one_more_host(nonce: str, number: int) -> tuple[bytes, ...]:
    """Instead of the last one."""
    return (
        DeltaDiscoveryRequest(
            type_url=VIRTUAL_HOST,
            response_nonce=nonce,
            resource_names_subscribe=[f"routes/more-{number}.other.test"],
            resource_names_unsubscribe=[f"routes/{number:050}.other.test"],
        ).SerializeToString(),
    )


async def silent(here: Here) -> None:
    """Open a stream and say nothing."""
    while here.left_s:
        async with stream(here, SOTW) as call:
            here.did += 1
            how = SERVED
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(here.left_s):
                    how = await ended(call)
            here.got[how] += 1


async def guessing(here: Here) -> None:
    """Read nothing, and acknowledge what must have come: nonces can be guessed."""
    async with stream(here, SOTW) as call:
        await call.write(sotw(EXTENSION, ("large",), node=NODE))
        nonce = DiscoveryResponse.FromString(await call.read()).nonce
    guesses = [nonce, *(f"{nonce}.{number}" for number in range(1, 50))]
    # An ACK, and a question.
    requests = [sotw(EXTENSION, ("large",), response_nonce=one) for one in guesses for _ in "12"]
    _, how = await deaf(here.port, here.left_s, *requests)
    here.did += len(requests)
    here.got[how] += 1


async def raw(here: Here, misbehave: Callable[[int, float], Awaitable[tuple[int, str]]]) -> None:
    """Storms below gRPC: each gives how much it did, and how that ended."""
    while here.left_s:
        did, how = await misbehave(here.port, here.left_s)
        here.did += did
        here.got[how] += 1


def _storms() -> Iterator[Storm]:
    node = sotw(names=WEB, node=NODE)
    invented = [
        sotw(f"type.googleapis.com/made.Up{number}", WEB, node=NODE)
        for number in range(MAX_TYPES + 1)
    ]
    infinite = DiscoveryRequest(type_url=ENDPOINT, node=NODE)
    infinite.node.metadata["load"] = float("inf")
    garbage = b"\xff" * 64
    yield Storm("garbage", "garbage as the first request", says(garbage))
    yield Storm("garbage-later", "garbage later", says(node, garbage, answers=2))
    yield Storm(
        "infinite",
        "a node whose metadata has an infinite number",
        says(infinite.SerializeToString()),
    )
    yield Storm(
        "oversized",
        "a request of 5 MB",
        says(sotw(names=("x" * 5_000_000,), node=NODE)),
        clients=4,
    )
    yield Storm(
        "names",
        f"{MAX_NAMES:,} names",
        says(sotw(names=(*WEB, *numbered(MAX_NAMES - 1)), node=NODE)),
        clients=4,
    )
    yield Storm(
        "names-above",
        f"{2 * MAX_NAMES:,} names",
        says(sotw(names=numbered(2 * MAX_NAMES), node=NODE)),
        clients=4,
    )
    yield Storm(
        "invented",
        f"{MAX_TYPES - 1} types that nobody knows, on each stream",
        says(*invented[: MAX_TYPES - 1], node),
    )
    yield Storm(
        "types-above",
        f"{MAX_TYPES + 1} types on each stream",
        says(*invented[:MAX_TYPES], node),
    )
    yield Storm("no-node", "no node", says(sotw(names=WEB)))
    stranger = sotw(names=WEB, node={"id": "offender", "cluster": "nobody's"})
    yield Storm("no-group", "a group that does not exist", says(stranger))
    yield Storm("nacks", "a NACK again and again, SotW", flood(node, _refuses))
    first = delta(names=WEB, node=NODE)
    more: dict[str, Any] = {"path": DELTA, "response": DeltaDiscoveryResponse}
    yield Storm("nacks-delta", "the same, Delta", flood(first, _refuses_delta, **more))
    yield Storm("stale", "an old nonce again and again", flood(node, _stale))
    yield Storm("flood", "other names with each request, no waiting", flood(node, _subscribes))
    again = chat(sotw(CLUSTER, node=NODE), _asks_again)
    yield Storm("questions", "the same question again and again", again)
    for count in (100, MAX_NAMES):
        yield Storm(
            f"delta-{count}",
            f"a name of {count:,} dropped and taken, again and again, Delta",
            chat(delta(CLUSTER, numbered(count), node=NODE), _asks_again_delta, **more),
            clients=10 if count == 100 else 2,
        )
    hosts = tuple(f"routes/{number:050}.other.test" for number in range(MAX_NAMES))
    yield Storm(
        "hosts",
        f"{MAX_NAMES:,} virtual hosts on demand, and one more, and one more, Delta",
        chat(delta(VIRTUAL_HOST, hosts, node=NODE), _one_more_host, **more),
        clients=2,
    )
    yield Storm(
        "new-names",
        "2,000 other names with each request",
        chat(sotw(CLUSTER, ("a",), node=NODE), _new_names),
    )
    yield Storm(
        "long-names",
        "a name of 1 MB, another with each request",
        chat(sotw(RUNTIME, ("a",), node=NODE), _long_name),
        clients=2,
    )
    yield Storm("silent", "streams on which nothing is said", silent, clients=200)
    yield Storm(
        "deaf",
        "clients that do not read, and in the end do",
        partial(raw, misbehave=deaf),
        clients=50,
        seconds=6.0,
    )
    yield Storm("guessing", "the same, and acknowledge what they guess", guessing, seconds=6.0)
    yield Storm(
        "connects", "connections opened and closed at once", partial(raw, misbehave=connected), 20
    )
    yield Storm("pings", "HTTP/2 pings as fast as possible", partial(raw, misbehave=pings))
    yield Storm("resets", "streams opened and reset at once", partial(raw, misbehave=resets), 4)


STORMS = {storm.name: storm for storm in _storms()}
