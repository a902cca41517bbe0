"""Status, client status discovery, proxy-config, diff and validate against the real Envoy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from envoy_data_plane.envoy.config.cluster import v3 as cluster_v3
from envoy_data_plane.envoy.config.core import v3 as core_v3
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls_v3
from envoy_data_plane.google.protobuf import Any as Packed

from controlplane._pb.admin_pb2 import ClientResourceStatus
from controlplane._pb.status_pb2 import (
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
    NodeMatcher,
    StringMatcher,
)
from controlplane.lab.envoy import Envoy, envoy_binary, free_port, run_envoy
from controlplane.lab.weir import run_weir_lane
from controlplane.translate.bootstrap import overlay_bootstrap
from controlplane.xds.kinds import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME
from tests.envoy.plane import DEADLINE_S, FLEET, NODE, Done, Plane, own_envoy, plane, weir
from tests.envoy.test_xds import (
    assignment,
    backend,
    cluster,
    eventually,
    listener,
    routes,
    runtime,
)

pytestmark = pytest.mark.envoy

FETCH = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"

Types = dict[str, dict[str, bytes]]


def one_service(port: int, weights: dict[int, int] | None = None) -> Types:
    return {
        "cds": {"web": cluster("web")},
        "eds": {"web": assignment("web", weights or {9: 5, 10: 5})},
        "lds": {"in": listener(port)},
        "rds": {"routes": routes("web")},
        "rtds": {"weir": runtime(some_key=1_000_000)},
    }


@pytest.fixture(params=["sotw", "delta"])
def delta(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "delta")


async def client_status(made: Plane, **fields: Any) -> ClientStatusResponse:  # noqa: ANN401
    async with grpc.aio.insecure_channel(f"127.0.0.1:{made.server.port}") as channel:
        fetch: Any = channel.unary_unary(FETCH)  # type: ignore[call-arg]
        raw = await fetch(ClientStatusRequest(**fields).SerializeToString(), timeout=DEADLINE_S)
    return ClientStatusResponse.FromString(raw)


def of_type(found: ClientConfig, type_url: str) -> dict[str, ClientConfig.GenericXdsConfig]:
    return {one.name: one for one in found.generic_xds_configs if one.type_url == type_url}


def by_id(node_id: str) -> list[NodeMatcher]:
    return [NodeMatcher(node_id=StringMatcher(exact=node_id))]


async def test_the_client_status_of_a_synced_envoy_is_what_it_was_sent(
    tmp_path: Path, delta: bool
) -> None:
    wanted = one_service(free_port())
    async with plane(**wanted) as made, own_envoy(made, tmp_path, delta=delta):
        await made.synced()
        (client,) = (await client_status(made, node_matchers=by_id(NODE))).config
        assert (client.node.id, client.node.cluster) == (NODE, FLEET)
        assert client.node.user_agent_name == "envoy"
        for url, name, body in (
            (CLUSTER, "web", wanted["cds"]["web"]),
            (ENDPOINT, "web", wanted["eds"]["web"]),
            (LISTENER, "in", wanted["lds"]["in"]),
            (ROUTE, "routes", wanted["rds"]["routes"]),
            (RUNTIME, "weir", wanted["rtds"]["weir"]),
        ):
            found = of_type(client, url)
            assert found.keys() == {name}
            one = found[name]
            assert one.config_status == ConfigStatus.SYNCED
            assert one.client_status == ClientResourceStatus.ACKED
            view = made.cache.view(FLEET)
            assert view is not None
            assert one.version_info == view[url].by_name[name].version
            assert (one.xds_config.type_url, one.xds_config.value) == (url, body)
            assert one.last_updated.seconds > 1_600_000_000
        (bare,) = (await client_status(made, exclude_resource_contents=True)).config
        assert {one.name for one in bare.generic_xds_configs} == {"web", "in", "routes", "weir"}
        assert not any(one.HasField("xds_config") for one in bare.generic_xds_configs)
        assert not (await client_status(made, node_matchers=by_id("team/envoy"))).config


async def test_the_client_status_of_an_envoy_that_refused_has_both_versions(
    tmp_path: Path, delta: bool
) -> None:
    good = {"web": assignment("web", {9: 5})}
    async with (
        plane(**{**one_service(free_port()), "eds": good}) as made,
        own_envoy(made, tmp_path, delta=delta),
    ):
        await made.synced()
        bad = {"web": assignment("web", {9: 0})}
        made.publish(eds=bad)
        await made.refused("eds")
        (client,) = (await client_status(made)).config
        one = of_type(client, ENDPOINT)["web"]
        assert one.config_status == ConfigStatus.ERROR
        assert one.client_status == ClientResourceStatus.NACKED
        assert one.xds_config.value == good["web"]
        assert one.error_state.failed_configuration.value == bad["web"]
        assert "value must be greater than or equal to 1" in one.error_state.details
        assert one.error_state.last_update_attempt.seconds >= one.last_updated.seconds
        versions = {one.version_info, one.error_state.version_info}
        assert len(versions) == 2
        others = [each for each in client.generic_xds_configs if each.type_url != ENDPOINT]
        assert {each.config_status for each in others} == {ConfigStatus.SYNCED}
        made.publish(eds={"web": assignment("web", {9: 6})})
        await made.synced()
        (client,) = (await client_status(made)).config
        one = of_type(client, ENDPOINT)["web"]
        assert one.config_status == ConfigStatus.SYNCED
        assert not one.HasField("error_state")


def with_tls(name: str, **common: Any) -> bytes:  # noqa: ANN401
    context = tls_v3.UpstreamTlsContext(common_tls_context=tls_v3.CommonTlsContext(**common))
    socket = core_v3.TransportSocket(name="tls", typed_config=Packed.pack(context))
    made = cluster_v3.Cluster().parse(cluster(name))
    made.transport_socket = socket
    return bytes(made)


@pytest.mark.parametrize("kind", ["sds", "cds"])
async def test_what_envoy_quotes_of_a_secret_that_it_refuses_is_told_nowhere(
    tmp_path: Path, delta: bool, kind: str
) -> None:
    bad = tls_v3.TlsCertificate(
        private_key=core_v3.DataSource(inline_string="the secret"),
        private_key_provider=tls_v3.PrivateKeyProvider(),  # it wants a name
    )
    source = core_v3.ConfigSource(
        ads=core_v3.AggregatedConfigSource(), resource_api_version=core_v3.ApiVersion.V3
    )
    by_name = tls_v3.SdsSecretConfig(name="cert", sds_config=source)
    secret = bytes(tls_v3.Secret(name="cert", tls_certificate=bad))
    bodies = {
        "sds": with_tls("web", tls_certificate_sds_secret_configs=[by_name]),
        "cds": with_tls("web", tls_certificates=[bad]),
    }
    types = one_service(free_port()) | {"cds": {"web": bodies[kind]}, "sds": {"cert": secret}}
    async with plane(**types) as made, own_envoy(made, tmp_path, delta=delta):
        await made.refused(kind)
        ask = ("--admin-address", made.admin)
        told = [
            (await weir("proxy-status", *ask)).out,
            (await weir("proxy-status", NODE, "-o", "json", *ask)).out,
            str(await client_status(made)),
            repr(made.events),
        ]
        assert ["withheld" in one for one in told] == [True] * 4
        assert not any("the secret" in one for one in told)


async def test_proxy_status_tells_of_all_and_of_one(tmp_path: Path, delta: bool) -> None:
    async with plane(**one_service(free_port())) as made:
        ask = ("--admin-address", made.admin)
        assert "no Envoy is connected" in (await weir("proxy-status", *ask)).out
        async with own_envoy(made, tmp_path, delta=delta):
            await made.synced()
            head, row, *rest = (await weir("proxy-status", *ask)).out.splitlines()
            assert head.split() == [
                *("ENVOY", "FLEET", "CONNECTED", "CDS", "LDS", "EDS", "RDS", "RTDS"),
            ]
            assert row.split()[:2] == [NODE, FLEET]
            assert row.count("SYNCED") == 5
            assert not rest
            made.publish(lds={"in": b"\x0a\x02in"})  # a listener without an address
            await made.refused("lds")
            out = (await weir("proxy-status", *ask)).out
            assert f"{NODE} refuses lds: " in out
            assert out.count("STALE") == 1
            found = (await weir("proxy-status", NODE, "-o", "json", *ask)).document["types"]
            lds, cds = found["lds"], found["cds"]
            assert (lds["state"], lds["why"], cds["state"]) == ("STALE", "refused", "SYNCED")
            assert (
                lds["intended"]
                == lds["last_nack"]["version"]
                == made.cache.version(FLEET, LISTENER)
            )
            assert lds["acked"] not in ("", lds["intended"])
            assert "listener" in lds["nacked"].lower()
            assert lds["since"] == lds["last_nack"]["at"] > lds["acked_at"]
            text = (await weir("proxy-status", NODE, *ask)).out
            assert "lds: refuses version" in text
            assert cds["acked"] in text
        unknown = await weir("proxy-status", "nobody", *ask)
        assert unknown.status == 1
        assert "no Envoy 'nobody' is connected" in unknown.err


@pytest.mark.parametrize("own", [True, False], ids=["by its own account", "by its ACKs"])
async def test_proxy_config_shows_what_an_envoy_runs(tmp_path: Path, own: bool) -> None:
    port = free_port()
    async with (
        plane(**one_service(port, {9: 30, 10: 70})) as made,
        own_envoy(made, tmp_path) as envoy,
    ):
        await made.synced()
        ask = ["--envoy-admin", envoy.admin] if own else ["--admin-address", made.admin]

        async def rows(what: str) -> list[list[str]]:
            done = await weir("proxy-config", what, NODE, *ask)
            assert done.status == 0, done.err
            return [line.split() for line in done.out.splitlines()[1:]]

        assert ["web", "EDS", "web", "round_robin"] in [row[:4] for row in await rows("cluster")]
        found = {row[0]: row[3] for row in await rows("endpoint") if row[1] == "web"}
        assert found == {"127.0.0.1:9": "30", "127.0.0.1:10": "70"}
        assert ["in", f"127.0.0.1:{port}", "rds:", "routes"] in [
            row[:4] for row in await rows("listener")
        ]
        assert ["routes", "*", "/*", "web"] in await rows("route")
        whole = (await weir("proxy-config", "all", NODE, *ask)).out
        assert whole.count("web") >= 4
        done = await weir("proxy-config", "endpoint", NODE, *ask, "-o", "yaml")
        (one,) = [each for each in yaml.safe_load(done.out) if each["name"] == "web"]
        weights = [
            each["load_balancing_weight"] for each in one["config"]["endpoints"][0]["lb_endpoints"]
        ]
        assert weights == [30, 70]
        done = await weir("proxy-config", "all", NODE, *ask, "-o", "json")
        (each,) = [one for one in done.document["lds"] if one["name"] == "in"]
        assert each["config"]["address"]["socket_address"]["port_value"] == port


async def test_proxy_config_shows_the_bootstrap_by_the_envoys_own_account_alone(
    tmp_path: Path,
) -> None:
    async with plane(**one_service(free_port())) as made, own_envoy(made, tmp_path) as envoy:
        done = await weir("proxy-config", "bootstrap", NODE, "--envoy-admin", envoy.admin)
        assert ["node", NODE] in [line.split() for line in done.out.splitlines()]
        done = await weir(
            "proxy-config", "bootstrap", NODE, "--envoy-admin", envoy.admin, "-o", "json"
        )
        assert done.document["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
        done = await weir("proxy-config", "bootstrap", NODE)
        assert (done.status, "--envoy-admin" in done.err) == (1, True)
        done = await weir("proxy-config", "cluster", "other", "--envoy-admin", envoy.admin)
        assert done.status == 1
        assert f"is '{NODE}', not 'other'" in done.err
        done = await weir("proxy-config", "cluster", NODE, "--envoy-admin", made.admin)
        assert (done.status, "is this an Envoy?" in done.err) == (1, True)


async def differing(made: Plane, envoy: Envoy, *more: str) -> Done:
    return await weir(
        *("diff", NODE, "--envoy-admin", envoy.admin, "--admin-address", made.admin),
        *("--patience-s", "0.2", *more),
    )


async def test_diff_finds_nothing_at_an_envoy_that_runs_what_it_should(
    tmp_path: Path, delta: bool
) -> None:
    async with (
        plane(**one_service(free_port(), {9: 1, 10: 7})) as made,
        own_envoy(made, tmp_path, delta=delta) as envoy,
    ):
        await made.synced()
        done = await differing(made, envoy)
        assert done.status == 0, done.out + done.err
        assert done.out == f"{NODE}: no differences, 5 resources compared\n"


async def test_diff_finds_an_assignment_that_envoy_acknowledged_and_ignored(
    tmp_path: Path,
) -> None:
    # State of the world alone: with Delta, where resources have names, Envoy refuses it.
    async with (
        plane(**one_service(free_port(), {9: 5, 10: 5})) as made,
        own_envoy(made, tmp_path) as envoy,
    ):
        await made.synced()
        made.publish(eds={"web": assignment("wbe", {9: 1, 10: 9})})
        await made.until(lambda types: types["eds"]["acked"] == made.cache.version(FLEET, ENDPOINT))
        assert (await weir("proxy-status", "--admin-address", made.admin)).out.count("SYNCED") == 5
        done = await differing(made, envoy, "-o", "json")
        assert done.status == 1, done.err
        (one,) = done.document["differences"]
        assert (one["type"], one["name"], one["kind"]) == ("eds", "web", "different")
        assert one["note"] == "Envoy acknowledged it"
        assert {line.strip() for line in one["lines"]} >= {
            '-  "cluster_name": "wbe",',
            '+  "cluster_name": "web",',
        }
        assert any("-" in line and '"load_balancing_weight": 9' in line for line in one["lines"])
        text = (await differing(made, envoy)).out
        assert "eds web: different (Envoy acknowledged it)" in text


async def test_diff_tells_what_an_envoy_refused_and_still_runs(tmp_path: Path, delta: bool) -> None:
    async with (
        plane(**one_service(free_port(), {9: 5})) as made,
        own_envoy(made, tmp_path, delta=delta) as envoy,
    ):
        await made.synced()
        made.publish(eds={"web": assignment("web", {9: 0})})
        await made.refused("eds")
        done = await differing(made, envoy, "-o", "json")
        assert done.status == 1
        (one,) = done.document["differences"]
        assert (one["name"], one["note"]) == ("web", "Envoy refused it")
        done = await differing(made, envoy, "--type", "cds")
        assert done.status == 0


async def test_diff_finds_what_is_missing(tmp_path: Path, delta: bool) -> None:
    wanted = one_service(free_port())
    async with plane(**wanted) as made, own_envoy(made, tmp_path, delta=delta) as envoy:
        await made.synced()
        bad = cluster_v3.Cluster(name="bad", type=cluster_v3.ClusterDiscoveryType.EDS)
        made.publish(cds={**wanted["cds"], "bad": bytes(bad)})
        await made.refused("cds")
        done = await differing(made, envoy, "-o", "json")
        assert [
            (one["type"], one["name"], one["kind"], one["note"])
            for one in done.document["differences"]
        ] == [("cds", "bad", "missing", "Envoy refused it")]


async def test_diff_finds_what_is_extra(tmp_path: Path, delta: bool) -> None:
    async with (
        plane(**one_service(free_port())) as made,
        own_envoy(made, tmp_path, delta=delta) as envoy,
    ):
        await made.synced()
        # The old cluster stays until the routes are taken, which never happens.
        bad = b"\x0a\x06routes\x12\x00"
        made.publish(
            cds={"new": cluster("new")},
            eds={"new": assignment("new", {9: 1})},
            rds={"routes": bad},
        )
        await made.refused("rds")
        done = await differing(made, envoy, "-o", "json")
        found = {(one["type"], one["name"], one["kind"]) for one in done.document["differences"]}
        assert done.status == 1
        assert found == {
            ("cds", "web", "extra"),
            ("eds", "web", "extra"),
            ("rds", "routes", "different"),
        }


async def test_diff_that_cannot_compare_has_a_status_of_its_own(tmp_path: Path) -> None:
    async with plane(**one_service(free_port())) as made, own_envoy(made, tmp_path) as envoy:
        await made.synced()
        for arguments, words in (
            (("nobody", "--envoy-admin", envoy.admin, "--admin-address", made.admin), "connected"),
            ((NODE, "--admin-address", made.admin), "--envoy-admin"),
            ((NODE, "--envoy-admin", "127.0.0.1:1", "--admin-address", made.admin), "no answer"),
            ((NODE, "--envoy-admin", envoy.admin, "--admin-address", "127.0.0.1:1"), "no answer"),
            (
                (NODE, "--envoy-admin", envoy.admin, "--admin-address", made.admin, "--type", "x"),
                "has not asked for 'x'",
            ),
        ):
            done = await weir("diff", *arguments)
            assert (done.status, words in done.err) == (2, True), (arguments, done.err)


async def test_diff_of_an_envoy_with_its_own_configuration_is_about_endpoints_alone(
    tmp_path: Path,
) -> None:
    assignments = {name: assignment(name, {9: 3, 10: 4}) for name in ("web", "other")}
    async with plane(eds=assignments) as made:
        bootstrap = overlay_bootstrap(
            node_id=NODE,
            node_cluster=FLEET,
            service="web",
            listen_port=free_port(),
            xds_port=made.server.port,
            admin_port=free_port(),
            access_logs=False,
            load_reports=False,
        )
        async with run_envoy(bootstrap, tmp_path) as envoy:
            await made.synced()
            done = await differing(made, envoy)
            assert done.out == f"{NODE}: no differences, 1 resources compared\n"


def gateway(address: str) -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        "spec:\n  listeners: [{name: http, protocol: HTTP, port: 8080}]\n"
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\n"
        "spec:\n  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: web}]}]\n"
        "---\napiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: web}\n"
        f"spec: {{endpoints: [{{ip: {{address: '{address}', port: 80}}}}]}}\n"
        "---\napiVersion: weir.dev/v1alpha1\nkind: Backend\nmetadata: {name: fine}\n"
        "spec: {endpoints: [{fqdn: {hostname: a.example, port: 80}}]}\n"
    )


async def test_validate_with_envoy_finds_what_our_own_checks_do_not(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(gateway("::1%nosuch0"))
    assert (await weir("validate", "-f", str(tmp_path))).status == 0
    done = await weir("validate", "-f", str(tmp_path), "--envoy", str(envoy_binary()), "-o", "json")
    assert done.status == 1, done.err
    problems = done.document["problems"]
    assert {one["object"] for one in problems} == {"Backend default/web"}
    assert {(one["file"], one["line"]) for one in problems} == {("all.yaml", 14)}
    fleets = [one["message"].partition(":")[0] for one in problems]
    assert fleets == [
        f"Envoy refuses eds default/web of fleet {fleet}" for fleet in ("default/edge", "overlay")
    ]
    assert all("malformed IP address" in one["message"] for one in problems)
    text = (await weir("validate", "--envoy", "-f", str(tmp_path))).out
    assert "all.yaml:14: Backend default/web: Envoy refuses eds default/web" in text


async def test_validate_with_envoy_takes_what_envoy_takes(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(gateway("127.0.0.1"))
    done = await weir("validate", "-f", str(tmp_path), "--envoy")
    assert (done.status, done.out.splitlines()[-1]) == (
        0,
        f"4 valid objects, no problems in {tmp_path}",
    )
    done = await weir("validate", "-f", str(tmp_path), "--envoy", str(tmp_path / "none"))
    assert (done.status, "cannot run" in done.err) == (1, True)


async def test_validate_is_bounded_by_its_deadline(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(gateway("127.0.0.1"))
    slow = tmp_path / "slow-envoy"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    done = await weir(
        *("validate", "-f", str(tmp_path), "--envoy", str(slow), "--deadline-s", "1", "-o", "json")
    )
    assert done.status == 1
    (one,) = done.document["problems"]
    assert one["message"] == "not checked with Envoy in time: fleets default/edge, overlay"


async def test_the_commands_agree_about_an_envoy_of_weir_serve(tmp_path: Path) -> None:
    async with (
        backend("a") as a,
        backend("b") as b,
        run_weir_lane([a.port, b.port], tmp_path, envoys=1, policy="model") as (lane, served),
    ):
        (envoy,), node = lane.envoys, "weir-00"
        ask = ("--admin-address", f"127.0.0.1:{served.admin_port}")

        async def synced() -> bool:
            _, page = await served.get(f"/v1/proxies/{node}")
            types = json.loads(page)["types"]
            states = {kind: one["state"] for kind, one in types.items()}
            return states == dict.fromkeys(("cds", "ecds", "eds", "lds", "rds", "rtds"), "SYNCED")

        await eventually(synced, "every type is in force")
        assert (await weir("proxy-status", *ask)).out.splitlines()[1].startswith(node)
        done = await weir("diff", node, "--envoy-admin", envoy.admin, *ask)
        assert (done.status, "no differences, 8 resources compared" in done.out) == (0, True), (
            done.out + done.err
        )
        done = await weir("proxy-config", "endpoint", node, *ask)
        assert f"127.0.0.1:{a.port}" in done.out
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.xds_port}") as channel:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")  # type: ignore[call-arg]
            assert await check(b"", timeout=DEADLINE_S) == b"\x08\x01"  # SERVING
        status, page = await served.get("/metrics")
        text = page.decode()
        assert status == 200
        where = 'fleet="default/edge-01",type="eds"'
        in_state = 'fleet="default/edge-01",state="synced",type="eds"'
        assert f"weir_xds_streams_in_state{{{in_state}}} 1.0" in text
        assert f"weir_xds_refused_seconds{{{where}}} 0.0" in text
        assert f"weir_xds_last_ack_timestamp_seconds{{{where}}} 1." in text
