"""Policies that are refused when they are written for the first time: nothing is open for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.echo import call, echoes
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until

pytestmark = pytest.mark.envoy

ALLOW = "  authorization: {defaultAction: Allow}\n"


async def test_whoever_a_policy_that_was_never_valid_is_for_is_refused(tmp_path: Path) -> None:
    port, guarded, lists = free_port(), free_port(), free_port()
    async with echoes("a", "b") as running:
        hosts = ("free", "own", "typo", "cut", "script")
        usual = [
            gateway(
                f"name: http, port: {port}, protocol: HTTP",
                f"name: guarded, port: {guarded}, protocol: HTTP",
                f"name: lists, port: {lists}, protocol: HTTP",
            ),
            *(backend(name, one.port) for name, one in running.items()),
            *(route(one, f"[{{{to('a')}}}]", hosts=f"[{one}.test]") for one in hosts),
            route("secret", f"[{{{to('b')}}}]", hosts="[secret.test]"),
            policy("SecurityPolicy", "own", "HTTPRoute/own", ALLOW),
        ]
        broken = [
            policy("SecurityPolicy", "typo", "HTTPRoute/typo", "  authorisation: {}\n"),
            policy("SecurityPolicy", "cut", "HTTPRoute/cut", "  jwt: {providers: [{name: 'a\n"),
            policy("SecurityPolicy", "all", "Gateway/edge/guarded", "  jwt: {}\n"),
            policy("ClientPolicy", "all", "Gateway/edge/lists", "  clientAddresses: {allow: 1}\n"),
            policy("TrafficPolicy", "script", "HTTPRoute/script", "  lua: [{type: In}]\n"),
            policy("BackendTLSPolicy", "b", "Backend/b", "  validation: {}\n").replace(
                "weir.dev/v1alpha1", "gateway.networking.k8s.io/v1"
            ),
        ]
        told = ["is missing", "is not taken", "no such field", "not YAML", "want "]
        async with edge(tmp_path, *usual) as made:

            async def open_() -> bool:
                return (await call(port, host="free.test")).status == 200

            async def statuses(to: int) -> dict[str, int]:
                every = (*hosts, "secret")
                return {one: (await call(to, host=f"{one}.test")).status for one in every}

            await until(open_)
            before = {one.name: len(one.received) for one in running.values()}
            await made.apply(*usual, *broken, faults=[*told, "was never valid"])
            refused = {"typo": 500, "cut": 500, "script": 500, "secret": 503}
            assert await statuses(port) == {"free": 200, "own": 200, **refused}
            # The nearest policy counts, as a whole.
            others = dict.fromkeys(("free", "own", *refused), 500)
            assert await statuses(guarded) == {**others, "own": 200, "secret": 500}
            assert await statuses(lists) == others
            assert len(running["a"].received) == before["a"] + 3
            assert len(running["b"].received) == before["b"]
            await made.apply(*usual)
            for each in (port, guarded, lists):
                assert set((await statuses(each)).values()) == {200}
