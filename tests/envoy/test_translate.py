from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.envoy import Envoy, free_port, run_envoy
from controlplane.model import Service, ServiceName, Verdict, fleet_of
from controlplane.resources import Declared
from controlplane.translate import TranslateOptions, Translator
from controlplane.translate.bootstrap import ads_bootstrap, overlay_bootstrap
from controlplane.xds import SnapshotCache, XdsServer
from tests.envoy.origin import Origin, ask, origins
from tests.unit.resources.test_patterns import TAKEN
from tests.unit.translate.scenes import all_services, declared, even, grouped, single

pytestmark = pytest.mark.envoy

WEB = ServiceName("default/web")
DEADLINE_S = 30.0


def gateway(*listeners: str) -> str:
    rows = "".join(f"    - {{{one}, protocol: HTTP}}\n" for one in listeners)
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        "spec:\n  gatewayClassName: weir\n  addresses: [{value: 127.0.0.1}]\n"
        f"  listeners:\n{rows}"
    )


def route(rules: str, name: str = "web", hostnames: str = "[]") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name}}}\n"
        f"spec:\n  parentRefs: [{{name: edge}}]\n  hostnames: {hostnames}\n  rules: {rules}\n"
    )


def backend(name: str, endpoints: Iterable[Origin]) -> str:
    rows = "".join(
        f"    - ip: {{address: 127.0.0.1, port: {origin.port}}}\n" for origin in endpoints
    )
    return (
        "apiVersion: weir.dev/v1alpha1\nkind: Backend\n"
        f"metadata: {{name: {name}}}\nspec:\n  endpoints:\n{rows}"
    )


class Plane:
    """A control plane whose verdicts the test writes."""

    def __init__(self, found: Declared, port: int, options: TranslateOptions | None) -> None:
        self.found = found
        self.port = port
        self.services = all_services(found)
        self.cache = SnapshotCache()
        self.translator = Translator(options)

    def service(self, name: str = WEB) -> Service:
        return next(one for one in self.services if one.name == name)

    def push(self, *verdicts: Verdict, sampling_percent: float = 100.0) -> None:
        every = {**even(self.services), **{one.service.name: one for one in verdicts}}
        for snapshot in self.translator.snapshots(
            self.found, self.services, every, sampling_percent
        ):
            self.cache.publish(snapshot)


@asynccontextmanager
async def plane(*documents: str, options: TranslateOptions | None = None) -> AsyncIterator[Plane]:
    found = declared(*documents)
    made = Plane(found, free_port(), options)
    group = fleet_of(found.gateways)
    server = XdsServer(
        made.cache,
        address=f"127.0.0.1:{made.port}",
        node_group=lambda node: group(node.cluster),
    )
    made.push()
    await server.start()
    try:
        yield made
    finally:
        await server.stop(grace_s=0.1)


@asynccontextmanager
async def own_envoy(made: Plane, folder: Path, *, delta: bool = False) -> AsyncIterator[Envoy]:
    bootstrap = ads_bootstrap(
        node_id="envoy-1",
        fleet="default/edge",
        xds_port=made.port,
        admin_port=free_port(),
        delta=delta,
    )
    async with run_envoy(bootstrap, folder) as envoy:
        yield envoy


async def settled(envoy: Envoy, pattern: str, value: int) -> None:
    """Until a counter or gauge is at least this."""
    async with asyncio.timeout(DEADLINE_S):
        while sum((await envoy.stats(pattern)).values()) < value:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def pushed(envoy: Envoy, made: Plane, *verdicts: Verdict, cluster: str = WEB) -> None:
    """Push and wait until Envoy has taken it."""
    pattern = f"cluster.{cluster}.update_success"
    before = sum((await envoy.stats(pattern)).values())
    made.push(*verdicts)
    await settled(envoy, pattern, before + 1)


async def rejected(envoy: Envoy) -> dict[str, int]:
    return {name: n for name, n in (await envoy.stats("update_rejected")).items() if n}


async def shares(port: int, names: Sequence[str], times: int = 1000) -> list[float]:
    answers = await ask(port, times=times)
    assert sum(answers.values()) == times
    assert {status for status, _ in answers} == {200}, answers
    return [answers[200, name] / times for name in names]


RULES = (
    "[{matches: [{path: {type: Exact, value: /exact}}], backendRefs: [{name: a}]},"
    " {matches: [{path: {value: /pre}}], backendRefs: [{name: b}]},"
    " {matches: [{path: {value: /pre/longer}}], backendRefs: [{name: c}]},"
    " {matches: [{path: {type: RegularExpression, value: '/v[0-9]+/x'}}],"
    "  backendRefs: [{name: a}]},"
    " {matches: [{path: {value: /h}, headers: [{name: X-Who, value: me}]}],"
    "  backendRefs: [{name: a}]},"
    " {matches: [{path: {value: /h}, method: POST}], backendRefs: [{name: b}]},"
    " {matches: [{path: {value: /h}, queryParams: [{name: q, value: '1'}]}],"
    "  backendRefs: [{name: c}]},"
    " {matches: [{path: {value: /nowhere}}], backendRefs: [{name: gone}]},"
    " {matches: [{path: {value: /half}}],"
    "  backendRefs: [{name: a, weight: 3}, {name: gone, weight: 1}]},"
    " {matches: [{path: {value: /split}}],"
    "  backendRefs: [{name: a, weight: 9}, {name: b, weight: 1}]}]"
)


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
async def test_requests_go_where_the_routes_say(tmp_path: Path, delta: bool) -> None:
    port = free_port()
    async with origins("a", "b", "c") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route(RULES),
            route("[{backendRefs: [{name: c}]}]", "hosted", "['*.example.com']"),
            *(backend(name, [origin]) for name, origin in found.items()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path, delta=delta) as envoy:
            for path, more, want in (
                ("/exact", {}, (200, "a")),
                ("/exact/more", {}, (404, "")),
                ("/pre", {}, (200, "b")),
                ("/pre/x?y=z", {}, (200, "b")),
                ("/prefix", {}, (404, "")),
                ("/pre/longer/x", {}, (200, "c")),
                ("//pre", {}, (200, "b")),
                ("/exact/../pre", {}, (200, "b")),
                ("/v12/x", {}, (200, "a")),
                ("/v12/xx", {}, (404, "")),
                ("/h", {"headers": {"x-who": "me"}}, (200, "a")),
                ("/h", {"method": "POST", "headers": {"content-length": "0"}}, (200, "b")),
                ("/h?q=1", {}, (200, "c")),
                ("/h?q=2", {}, (404, "")),
                ("/anything", {"host": "a.b.example.com:1234"}, (200, "c")),
                ("/anything", {"host": "example.com"}, (404, "")),
                ("/nowhere", {}, (500, "no backend of this route can be reached")),
            ):
                assert await ask(port, path, **more) == {want: 1}, path
            split = await ask(port, "/split", times=500)
            assert 0.85 <= split[200, "a"] / 500 <= 0.95
            half = await ask(port, "/half", times=400)
            assert 0.65 <= half[200, "a"] / 400 <= 0.85
            assert half[200, "a"] + half[500, "no backend of this route can be reached"] == 400
            assert await rejected(envoy) == {}


async def test_every_pattern_that_is_taken_from_people_is_taken_by_envoy(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as found:
        rules = [
            f"{{matches: [{{path: {{type: RegularExpression, value: {json.dumps(one)}}}}}],"
            " backendRefs: [{name: a}]}"
            for one in TAKEN
        ]
        documents = [
            gateway(f"name: http, port: {port}"),
            *(
                route(f"[{', '.join(rules[at : at + 16])}]", f"web-{at}")
                for at in range(0, len(rules), 16)
            ),
            backend("a", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as envoy:
            assert sum(len(one.spec.rules) for one in made.found.routes.values()) == len(TAKEN)
            assert await ask(port, "/v1/x") == {(200, "a"): 1}
            assert await rejected(envoy) == {}


async def test_shares_of_groups_are_exact_and_a_push_acts_at_once(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a", "b", "c", "d", "e", "f") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as envoy:
            for weights in ([70, 20, 10], [10, 30, 60]):
                await pushed(
                    envoy, made, grouped(made.service(), [0, 0, 0, 1, 1, 2], weights, "xyz")
                )
                a, b, c, d, e, f = await shares(port, "abcdef")
                for got, want in zip((a + b + c, d + e, f), weights, strict=True):
                    assert got == pytest.approx(want / 100, abs=0.015)
            assert await rejected(envoy) == {}


async def test_endpoint_weights_are_honoured(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a", "b", "c") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as envoy:
            await pushed(envoy, made, single(made.service(), [60, 30, 10]))
            for got, want in zip(await shares(port, "abc"), (0.6, 0.3, 0.1), strict=True):
                assert got == pytest.approx(want, abs=0.02)


async def test_a_backend_that_fails_fast_is_ejected(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a", "b", "c", "d") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as envoy:
            found["b"].status = 503
            await ask(port, times=200)
            await settled(envoy, "cluster.default/web.outlier_detection.ejections_active", 1)
            before = found["b"].seen
            answers = await ask(port, times=200)
            assert found["b"].seen == before
            assert {status for status, _ in answers} == {200}


async def test_as_many_requests_are_logged_as_the_runtime_layer_says(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as envoy:

            async def logged(percent: float, times: int) -> int:
                updates, written = "runtime.update_success", "grpc_access_log.logs_written"
                before = sum((await envoy.stats(updates)).values())
                made.push(sampling_percent=percent)
                await settled(envoy, updates, before + 1)
                before = sum((await envoy.stats(written)).values())
                await ask(port, times=times)
                return sum((await envoy.stats(written)).values()) - before

            assert 60 < await logged(25.0, 400) < 140
            assert await logged(100.0, 200) == 200
            assert await logged(0.01, 200) < 5


async def test_an_endpoint_that_refuses_connections_costs_no_request(tmp_path: Path) -> None:
    port, closed = free_port(), Origin("closed")
    closed.port = free_port()
    async with origins("a", "b") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", [*found.values(), closed]),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path):
            answers = await ask(port, times=100)
            assert {status for status, _ in answers} == {200}


async def test_all_endpoints_taken_out_on_purpose_is_503_and_back_is_200(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
        ]
        with_a, without = backend("web", found.values()), backend("web", []) + "    []\n"
        async with plane(*documents, with_a) as made, own_envoy(made, tmp_path) as envoy:
            assert await ask(port) == {(200, "a"): 1}
            for text, want in ((without, (503, "no healthy upstream")), (with_a, (200, "a"))):
                made.found = declared(*documents, text)
                made.services = all_services(made.found)
                await pushed(envoy, made)
                assert await ask(port) == {want: 1}


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@pytest.mark.parametrize("name", ["default/web", "web"])
async def test_an_envoy_with_its_own_configuration_gets_endpoints_by_either_name(
    tmp_path: Path, name: str, delta: bool
) -> None:
    port = free_port()
    async with origins("a", "b") as found, plane(backend("web", found.values())) as made:
        bootstrap = overlay_bootstrap(
            node_id="envoy-1",
            node_cluster="anything",
            service=name,
            listen_port=port,
            xds_port=made.port,
            admin_port=free_port(),
            delta=delta,
        )
        made.push(grouped(made.service(), [0, 1], [80, 20]))
        async with run_envoy(bootstrap, tmp_path) as envoy:
            a, b = await shares(port, "ab")
            assert [a, b] == pytest.approx([0.8, 0.2], abs=0.015)
            await pushed(envoy, made, grouped(made.service(), [0, 1], [30, 70]), cluster=name)
            a, b = await shares(port, "ab")
            assert [a, b] == pytest.approx([0.3, 0.7], abs=0.015)
            assert await rejected(envoy) == {}


async def test_the_overlay_example_sets_its_cluster_up_as_we_set_up_ours(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        async with plane(*documents) as made, own_envoy(made, tmp_path) as ours:
            bootstrap = overlay_bootstrap(
                node_id="envoy-2",
                service=WEB,
                listen_port=free_port(),
                xds_port=made.port,
                admin_port=free_port(),
            )
            async with run_envoy(bootstrap, tmp_path, name="overlay") as theirs:
                assert await cluster_of(ours, "dynamic_active_clusters") == await cluster_of(
                    theirs, "static_clusters"
                )


async def cluster_of(envoy: Envoy, section: str) -> Any:  # noqa: ANN401
    """The cluster of the service as Envoy itself has it."""
    dump = json.loads(await envoy.get(f"/config_dump?resource={section}"))
    (found,) = (one["cluster"] for one in dump["configs"] if one["cluster"]["name"] == WEB)
    return found


async def test_a_fleet_read_from_prometheus_counts_for_each_endpoint(tmp_path: Path) -> None:
    port = free_port()
    async with origins("a") as found:
        documents = [
            gateway(f"name: http, port: {port}"),
            route("[{backendRefs: [{name: web}]}]"),
            backend("web", found.values()),
        ]
        options = TranslateOptions(access_logs=False, endpoint_stats=True)
        async with plane(*documents, options=options) as made:
            bootstrap = ads_bootstrap(
                node_id="envoy-1",
                fleet="edge",  # the bare name of the Gateway
                xds_port=made.port,
                admin_port=free_port(),
                load_reports=False,
            )
            async with run_envoy(bootstrap, tmp_path) as envoy:
                await ask(port, times=7)
                page = await envoy.get("/stats/prometheus?filter=rq_total")
                address = f"127.0.0.1:{found['a'].port}"
                (row,) = (
                    line
                    for line in page.splitlines()
                    if line.startswith("envoy_cluster_endpoint_rq_total") and address in line
                )
                assert row.endswith(" 7")
