"""`EnvoyPatch` through the real Envoy: what is patched acts, what does not fit changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.inspection.patching import patched
from controlplane.lab.envoy import free_port
from controlplane.resources.declared import ObjectKey
from controlplane.translate import TranslateOptions
from tests.envoy.echo import call, echoes
from tests.envoy.edge import Edge, backend, edge, gateway, route, to, until

pytestmark = pytest.mark.envoy

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
PATCH = ObjectKey("EnvoyPatch", "default/mine")


def envoy_patch(spec: str) -> str:
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: EnvoyPatch\nmetadata: {name: mine}\n"
        f"spec:\n  targetRef: {{name: edge}}\n{spec}"
    )


def server_name(port: int, value: str, field: str = "server_name") -> str:
    return (
        f"  jsonPatches:\n    - type: {LISTENER}\n      name: default/edge/http-{port}\n"
        "      operation:\n        op: add\n"
        f"        path: /filter_chains/0/filters/0/typed_config/{field}\n        value: {value}\n"
    )


def header(port: int, value: str) -> str:
    return (
        f"  mergePatches:\n    - type: {ROUTES}\n      name: default/edge/http-{port}\n"
        "      value:\n        response_headers_to_add:\n"
        f"          - {{header: {{key: x-patched, value: {value}}}}}\n"
    )


async def seen(made: Edge, port: int) -> tuple[str, str | None]:
    answer = await call(port, "/", host="a.test")
    assert answer.status == 200
    return answer.headers["server"], answer.headers.get("x-patched")


async def becomes(made: Edge, port: int, wanted: tuple[str, str | None]) -> None:
    """A listener that was taken is in force a moment later."""

    async def is_so() -> bool:
        return await seen(made, port) == wanted

    await until(is_so)


async def test_a_patch_acts_and_a_broken_one_leaves_the_last_good_in_force(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("a") as origins:
        base = (
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("web", f"[{{{to('a')}}}]"),
            backend("a", origins["a"].port),
        )
        options = TranslateOptions(patcher=patched)
        async with edge(tmp_path, *base, options=options) as made:
            assert await seen(made, port) == ("envoy", None)

            both = server_name(port, "mine") + header(port, "one")
            await made.apply(*base, envoy_patch(both))
            assert made.translator.patch_faults == {}
            await becomes(made, port, ("mine", "one"))
            assert made.translator.patch_faults == {}

            # an unknown field: all of the patch stays as it was, and routes still change
            broken = server_name(port, "other", "serverr_name") + header(port, "two")
            more = route("web", f"[{{matches: [{{path: {{value: /}}}}], {to('a')}}}]")
            await made.apply(base[0], more, base[2], envoy_patch(broken))
            await becomes(made, port, ("mine", "one"))
            why = made.translator.patch_faults[PATCH]
            assert 'no field named "serverr_name"' in why
            assert "filter_chains[0].filters[0]" in why
            assert why.endswith("its last good version is used")

            await made.apply(*base, envoy_patch(header(port, "again")))
            await becomes(made, port, ("envoy", "again"))
            assert made.translator.patch_faults == {}

            await made.apply(*base)
            await becomes(made, port, ("envoy", None))


async def test_patches_do_nothing_unless_they_are_enabled(tmp_path: Path) -> None:
    port = free_port()
    async with echoes("a") as origins:
        documents = (
            gateway(f"name: http, port: {port}, protocol: HTTP"),
            route("web", f"[{{{to('a')}}}]"),
            backend("a", origins["a"].port),
            envoy_patch(header(port, "one")),
        )
        async with edge(tmp_path, *documents) as made:
            await becomes(made, port, ("envoy", None))
            assert "not enabled" in made.translator.patch_faults[PATCH]
