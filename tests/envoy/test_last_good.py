"""Documents that break while a real Envoy serves by them: `weir serve` tells what is wrong, and the
Envoy goes on as before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.envoy import free_port, run_envoy
from controlplane.lab.weir import WeirServe
from controlplane.translate.bootstrap import ads_bootstrap
from tests.envoy.edge import until
from tests.envoy.origin import ask, origins
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, ROUTE
from tests.unit.resources.picked import FILES

pytestmark = pytest.mark.envoy

SOME = (
    *("tab for spaces", "a quote left open", "cut off", "a key twice", "aliases of aliases"),
    *("not UTF-8", "a list", "no kind", "a kind of others", "another apiVersion"),
    *("a number for a name", "renamed and broken at once", "an empty spec"),
)
GOOD = {
    "gateway.yaml": GATEWAY,
    "route.yaml": ROUTE,
    "backend.yaml": BACKEND,
    "policy.yaml": POLICY,
}


async def told(served: WeirServe, path: str) -> Any:  # noqa: ANN401 (JSON)
    """A page of the admin address."""
    status, body = await served.get(f"/v1/{path}")
    assert status == 200, body
    return json.loads(body)


async def versions(served: WeirServe) -> Mapping[str, str]:
    """What the Envoy is to run, by type."""
    found = await told(served, "proxies/envoy-1/intended")
    return {kind: one["version"] for kind, one in found["types"].items()}


async def test_what_breaks_is_told_and_the_envoy_goes_on(tmp_path: Path) -> None:
    listen, served = free_port(), WeirServe(tmp_path)
    async with origins("one", "two") as running:
        places = {
            "port: 8080, protocol": f"port: {listen}, protocol",
            "10.0.0.1, port: 8080": f"127.0.0.1, port: {running['one'].port}",
            "10.0.0.2, port: 8080": f"127.0.0.1, port: {running['two'].port}",
            "policy: model": "policy: equal",  # no weights change by themselves
        }

        def write(file: str, content: str | bytes) -> None:
            raw = content.encode() if isinstance(content, str) else content
            for there, here in places.items():
                raw = raw.replace(there.encode(), here.encode())
            (served.config / file).write_bytes(raw)

        for file, text in GOOD.items():
            write(file, text)
        await served.start()
        try:
            await served.wait_ready()
            bootstrap = ads_bootstrap(
                node_id="envoy-1",
                fleet="default/edge",
                xds_port=served.xds_port,
                admin_port=free_port(),
            )
            async with run_envoy(bootstrap, tmp_path):

                async def serves() -> bool:
                    return set(await ask(listen, times=4)) == {(200, "one"), (200, "two")}

                await until(serves)
                before = await versions(served)
                picked = {one[0]: one for one in FILES}
                for name in SOME:
                    _, file, content, line, _, _ = picked[name]
                    write(file, content)

                    async def is_told(place: tuple[str, int] = (file, line)) -> bool:
                        found = await told(served, "problems")
                        assert all(one["advice"] for one in found), found
                        return place in [(one["file"], one["line"]) for one in found]

                    await until(is_told)
                    answers = set(await ask(listen, times=4))
                    assert answers <= {(200, "one"), (200, "two")}, (name, answers)
                    assert (name, await versions(served)) == (name, before)
                    write(file, GOOD[file])

                    async def is_well() -> bool:
                        return not await told(served, "problems")

                    await until(is_well)
        finally:
            await served.stop()
