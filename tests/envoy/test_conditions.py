"""`Programmed` comes from what a real Envoy ACKed, and goes when it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.front.programmed import programming
from controlplane.lab.envoy import free_port
from controlplane.model import Snapshot
from controlplane.resources.conditions import Condition, conditions
from controlplane.resources.declared import ObjectKey
from controlplane.translate.types import LISTENER
from tests.envoy.echo import echoes
from tests.envoy.edge import FLEET, Edge, backend, edge, gateway, publish, route, to, until

pytestmark = pytest.mark.envoy


def found(made: Edge, kind: str = "Gateway", name: str = FLEET) -> dict[str, Condition]:
    far = {FLEET: programming(made.server.clients(FLEET))}
    every = conditions(made.found, far)[ObjectKey(kind, name)]
    return {one.type: one for one in reversed(every)}


async def test_programmed_is_true_after_the_ack_and_false_after_a_nack(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("a") as origins:
        documents = (
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("web", f"[{{{to('a')}}}]"),
            backend("a", origins["a"].port),
        )
        async with edge(tmp_path, *documents) as made:
            taken = found(made)["Programmed"]
            assert (taken.status, taken.reason) == (True, "Programmed")
            assert taken.message == "1 of 1 Envoys have taken it"
            assert found(made, "HTTPRoute", "default/web")["Programmed"].status is True

            view = made.cache.view(FLEET)
            assert view is not None
            good = {
                url: {name: one.body for name, one in held.by_name.items()}
                for url, held in view.items()
            }
            bad = {**good, LISTENER: {"broken": b"\x0a\x06broken"}}  # a listener without address
            made.cache.publish(Snapshot(FLEET, bad))

            async def refused() -> bool:
                return found(made)["Programmed"].reason == "Invalid"

            await until(refused)
            one = found(made)["Programmed"]
            assert one.status is False
            assert one.message.startswith("envoy-1 refuses lds:"), one.message
            assert "address" in one.message
            assert found(made, "HTTPRoute", "default/web")["Programmed"].status is False

            made.cache.publish(Snapshot(FLEET, good))

            async def taken_again() -> bool:
                return found(made)["Programmed"].status is True

            await until(taken_again)
        gone = {FLEET: programming(made.server.clients(FLEET))}
        (one, *_) = [
            each
            for each in conditions(made.found, gone)[ObjectKey("Gateway", FLEET)]
            if each.type == "Programmed"
        ]
        assert (one.status, one.reason) == (False, "Pending")


async def test_an_address_that_the_machine_lacks_is_not_programmed(tmp_path: Path) -> None:
    listens = gateway(f"name: http, port: {free_port()}, protocol: HTTP")
    async with edge(tmp_path, listens) as made:
        lacking = listens.replace("127.0.0.1", "192.0.2.1")  # for documentation: nobody has it
        publish(made.cache, made.translator, lacking)

        async def refused() -> bool:
            return found(made)["Programmed"].reason == "Invalid"

        await until(refused)
        assert "192.0.2.1" in found(made)["Programmed"].message
