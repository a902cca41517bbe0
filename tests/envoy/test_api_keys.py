"""API keys that are compared by their hashes, through the real Envoy."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from controlplane.lab.envoy import free_port
from controlplane.model import Snapshot
from controlplane.resources.api_keys import hashed, new_key
from controlplane.translate.security.api_keys import HASH
from controlplane.translate.types import EXTENSION, LISTENER
from controlplane.xds.confidential import confidential
from tests.envoy.echo import Answer, call, echoes
from tests.envoy.edge import (
    FLEET,
    Edge,
    backend,
    edge,
    gateway,
    policy,
    route,
    secret,
    to,
    until,
)
from tests.unit.translate.scenes import all_services, even

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

ANN, BEN, BEN_NEXT, STRANGER = (new_key() for _ in range(4))
LENGTHS = (*range(1, 131), 183, 184, 1023, 1024)
"""Around the ends of blocks, where the padding changes."""
NIST = {
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
    bytes.fromhex("d3"): "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    bytes.fromhex("11af"): "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98",
    bytes.fromhex("b4190e"): "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2",
}
"""FIPS 180-2, appendix B, and the CAVP's SHA256ShortMsg."""


def keyed(name: str, secrets: str, places: str, more: str = "") -> list[str]:
    """The host `name`.test, for whom has a key."""
    spec = f"  apiKeyAuth: {{credentialRefs: [{secrets}], extractFrom: [{places}]{more}}}\n"
    return [
        route(name, f"[{{{to('origin')}}}]", hosts=f"[{name}.test]"),
        policy("SecurityPolicy", name, f"HTTPRoute/{name}", spec),
    ]


def written(**keys: str) -> Mapping[str, bytes]:
    return {client: one.encode() for client, one in keys.items()}


def vectors() -> Mapping[str, bytes]:
    ours = {f"of-{size}": hashlib.sha256(b"a" * size).hexdigest() for size in LENGTHS}
    theirs = {f"nist-{at}": digest for at, digest in enumerate(NIST.values())}
    return {client: f"sha256:{digest}".encode() for client, digest in (ours | theirs).items()}


def documents(port: int, origin: int) -> list[str]:
    limits = (
        "  rateLimit: {local: {rules: [{clientSelectors: [{headers: [{name: x-client, "
        "type: Distinct}]}], limit: {requests: 2, unit: Hour}}]}}\n"
    )
    told = ", forwardClientIDHeader: x-client"
    every = "{headers: [x-one, x-two], params: [k, 'a b'], cookies: [k]}, {headers: [x-last]}"
    return [
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("origin", origin),
        secret("clients", written(ann=hashed(ANN), ben=f"{hashed(BEN)}\n{BEN_NEXT}\n")),
        secret("others", written(eve=hashed(STRANGER))),
        secret("vectors", vectors()),
        *keyed("here", "{name: clients}", every, told),
        *keyed("clean", "{name: clients}", every, f"{told}, sanitize: true"),
        *keyed("there", "{name: others}", every),
        *keyed("vectors", "{name: vectors}", "{headers: [x-one], params: [k]}", told),
        *keyed("limits", "{name: clients}", "{headers: [x-one]}", told),
        policy("TrafficPolicy", "limits", "HTTPRoute/limits", limits),
        route("free", f"[{{{to('origin')}}}]", hosts="[free.test]"),
    ]


def passed_on(made: Edge, key: str) -> str:
    """What Envoy's filter waits for where a client of the policy `here` shows this key."""
    view = made.cache.view(FLEET) or {}
    wanted = rb"default/here#[0-9a-f]+ " + hashed(key).removeprefix("sha256:").encode()
    found = re.search(wanted, view[EXTENSION].by_name["weir.dev/api-keys"].body)
    assert found is not None
    return found[0].decode()


@dataclass
class Scene:
    made: Edge
    port: int

    async def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self.port, path, host=f"{host}.test", headers=sent)

    async def client(self, host: str, path: str = "/", **headers: str) -> str | None:
        """Whom the Backend is told; None: 401."""
        got = await self.get(host, path, **headers)
        if got.status == 401:
            assert got.body == "Client authentication failed."
            return None
        assert got.status == 200
        return got.sent.headers["x-client"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with echoes("origin") as running:
        port = free_port()
        found = documents(port, running["origin"].port)
        async with edge(tmp_path_factory.mktemp("keys"), *found) as made:
            made_scene = Scene(made, port)
            await until(lambda: _is(made_scene, "free", 200))
            yield made_scene


async def _is(scene: Scene, host: str, status: int, **headers: str) -> bool:
    return (await scene.get(host, **headers)).status == status


async def test_keys_are_hashed_as_the_standard_says(scene: Scene) -> None:
    for size in LENGTHS:
        assert await scene.client("vectors", x_one="a" * size) == f"of-{size}"
    for at, message in enumerate(NIST):
        assert await scene.client("vectors", f"/?k={quote(message)}") == f"nist-{at}"


async def test_every_live_key_is_its_clients_and_no_other_is(scene: Scene) -> None:
    assert await scene.client("here", x_one=ANN) == "ann"
    assert await scene.client("here", x_one=BEN) == "ben"
    assert await scene.client("here", x_one=BEN_NEXT) == "ben"
    for one in (STRANGER, ANN[:-1], ANN + "x", ANN.lower(), hashed(ANN), "", "x" * 1025):
        assert await scene.client("here", x_one=one) is None
    assert await scene.client("here") is None


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"x-one": f"Bearer {ANN}"}),
        ("/", {"x-one": "", "x-two": ANN}),
        ("/", {"x-last": ANN}),
        ("/", {"x-one": ANN, "x-two": STRANGER, "cookie": f"k={STRANGER}"}),
        (f"/?a=1&k={ANN}&b", {}),
        (f"/?%6B={ANN.replace('_', '%5f')}", {}),
        (f"/?a%20b={ANN}", {"cookie": f"k={STRANGER}"}),
        (f"/?k=&a%20b={ANN}", {}),
        ("/", {"cookie": f"a=b; k={ANN}; c=d"}),
        ("/", {"cookie": "a=b", "Cookie": f"k={ANN}"}),
        ("/", {"cookie": f'k="{ANN}"', "x-last": STRANGER}),
        ("/", {"cookie": f"a;{' ' * 10_000}k ={' ' * 10_000}{ANN}{' ' * 10_000}; a"}),
    ],
    ids=range(12),  # keys are of this run alone, and workers must know a test by one name
)
async def test_keys_are_looked_for_in_the_order_of_the_policy(
    scene: Scene, path: str, headers: dict[str, str]
) -> None:
    got = await call(scene.port, path, host="here.test", headers=headers)
    assert (got.status, got.sent.headers.get("x-client")) == (200, "ann")
    # All that was sent goes on, and nothing of ours.
    assert (got.sent.path, HASH in got.sent.headers) == (path, False)
    assert all(value in got.sent.headers[name.lower()] for name, value in headers.items())


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"x-one": ANN, "X-One": ANN}),
        ("/", {"x-one": ANN, "X-One": STRANGER}),
        ("/", {"x-one": STRANGER, "x-two": ANN}),
        ("/", {"x-one": f"Basic {ANN}"}),
        (f"/?k={ANN}&k={ANN}", {}),
        (f"/?k={ANN}&%6b=", {}),
        (f"/k={ANN}", {}),
        ("/", {"cookie": f"k={ANN}; k={STRANGER}"}),
        ("/", {"cookie": f"k={ANN}", "Cookie": f"k={STRANGER}"}),
        ("/", {"cookie": f"K={ANN}"}),
        ("/", {"cookie": ";".join(["k="] * 2000)}),
        ("/", {"cookie": f"k={' ' * 40_000}{ANN}{' ' * 10_000}a"}),
        (f"/?{'%6b&' * 10_000}k={STRANGER}", {}),
    ],
    ids=range(13),
)
async def test_what_is_there_twice_or_elsewhere_is_no_key(
    scene: Scene, path: str, headers: dict[str, str]
) -> None:
    got = await call(scene.port, path, host="here.test", headers=headers)
    assert got.status == 401


async def test_a_backend_does_not_see_keys_that_are_sanitized(scene: Scene) -> None:
    sent = {"x-one": ANN, "x-two": "2", "cookie": f"k={ANN}; a=b;k=c", "x-last": "3", "x-more": "4"}
    got = await call(scene.port, f"/a%20?b=%20&k={ANN}&&c&a%20b=", host="clean.test", headers=sent)
    assert (got.sent.path, got.sent.headers["cookie"]) == ("/a%20?b=%20&c", "a=b")
    left = {"x-one", "x-two", "x-last", "x-more", HASH} & got.sent.headers.keys()
    assert left == {"x-more"}
    alone = {"cookie": f"k={ANN}"}
    got = await call(scene.port, f"/?k={ANN}", host="clean.test", headers=alone)
    assert (got.sent.path, got.sent.headers.get("cookie")) == ("/", None)
    several = {"cookie": "a=b", "Cookie": f"k={ANN}", "COOKIE": "c"}
    got = await call(scene.port, "/", host="clean.test", headers=several)
    assert got.sent.headers["cookie"] == "a=b; c"


async def test_who_has_read_a_hash_has_no_key_and_a_policy_knows_its_own_alone(
    scene: Scene,
) -> None:
    stolen = passed_on(scene.made, ANN)
    for value in (stolen, stolen.partition(" ")[2]):
        assert await scene.client("here", **{HASH: value}) is None
        assert await scene.client("here", x_one=STRANGER, **{HASH: value}) is None
    assert await scene.client("here", x_one=ANN, **{HASH: stolen.replace("a", "b")}) == "ann"
    assert await scene.client("there", x_one=ANN) is None
    assert (await scene.get("there", x_one=STRANGER)).status == 200
    # Where no key is wanted nobody looks at the header, nor pays for taking it away.
    assert (await scene.get("free", **{HASH: stolen})).sent.headers[HASH] == stolen


async def test_envoy_counts_who_came_in_and_who_did_not(scene: Scene) -> None:
    async def counted() -> dict[str, int]:
        found = await scene.made.envoy.stats(r"api_key_auth\.")
        return {name.rpartition(".")[2]: value for name, value in found.items()}

    before = await counted()
    assert await scene.client("here", x_one=ANN) == "ann"
    assert await scene.client("here", x_one=STRANGER) is None
    after = await counted()
    assert {name: after[name] - before[name] for name in ("allowed", "unauthorized")} == {
        "allowed": 1,
        "unauthorized": 1,
    }


async def test_limits_count_by_the_client_of_a_key(scene: Scene) -> None:
    found = [(await scene.get("limits", x_one=one)).status for one in (BEN, BEN_NEXT, BEN, ANN)]
    assert found == [200, 200, 429, 200]
    assert (await scene.get("limits", x_one=BEN, x_client="new")).status == 429


async def test_no_key_and_no_hash_is_shown_of_an_envoy(scene: Scene) -> None:
    assert (await scene.get("here", x_one=ANN)).status == 200
    dump = await scene.made.envoy.get("/config_dump?include_eds", 30.0)
    assert "weir.dev/api-keys" in dump
    for one in (ANN, BEN, BEN_NEXT, STRANGER):
        assert one not in dump
        assert hashed(one).removeprefix("sha256:") not in dump
    view = scene.made.cache.view(FLEET) or {}
    bodies = {name: one.body for name, one in view[EXTENSION].by_name.items()}
    assert [name for name, body in bodies.items() if confidential(EXTENSION, body)] == [
        "weir.dev/api-keys"
    ]


_PLAN = b'local plan = plan_of(handle:filterContext():get("plan"))'
BROKEN = {
    "an error": (_PLAN, b"error('on purpose')"),
    "no memory": (_PLAN, b"local plan = string.rep('x', 4e9)"),
    "no plan": (b'get("plan")', b'get("none")'),
    "no function": (b"function envoy_on_request", b"function envoy_on_nothing"),
    "an error at the end": (b"plan.prefix .. sha256(key)", b"nil .. sha256(key)"),
}


async def test_where_the_script_fails_nobody_comes_in(tmp_path: Path) -> None:
    async with echoes("origin") as running:
        ports = [free_port() for _ in BROKEN]
        listeners = [f"name: l{at}, port: {port}, protocol: HTTP" for at, port in enumerate(ports)]
        found = [
            gateway(*listeners),
            backend("origin", running["origin"].port),
            secret("clients", written(ann=hashed(ANN))),
            *keyed("here", "{name: clients}", "{headers: [x-one]}", ", sanitize: true"),
            route("free", f"[{{{to('origin')}}}]", hosts="[free.test]"),
        ]
        async with edge(tmp_path, *found) as made:
            scenes = [Scene(made, port) for port in ports]
            for one in scenes:
                await until(lambda one=one: _is(one, "here", 200, x_one=ANN))  # type: ignore[misc]
            made.cache.publish(_broken(made, ports))
            await made.taken()
            stolen = {HASH: passed_on(made, ANN)}
            for one in scenes:
                await until(lambda one=one: _is(one, "here", 401, x_one=ANN))  # type: ignore[misc]
                assert await _is(one, "here", 401, **stolen)
                assert await _is(one, "here", 401, x_one=ANN, **stolen)
                assert await _is(one, "free", 200)
            errors = await made.envoy.stats(r"lua\.api_keys\.errors")
            assert sum(errors.values()) > 0


def _broken(made: Edge, ports: list[int]) -> Snapshot:
    """What was declared, with a script in each listener that fails in its own way."""
    services = all_services(made.found)
    (snapshot, *_) = made.translator.snapshots(made.found, services, even(services))
    listeners = dict(snapshot.resources[LISTENER])
    for (before, after), port in zip(BROKEN.values(), ports, strict=True):
        (name,) = (one for one in listeners if one.endswith(f"-{port}"))
        assert listeners[name].count(before) == 1
        listeners[name] = listeners[name].replace(before, after.ljust(len(before)))
    return Snapshot(FLEET, {**snapshot.resources, LISTENER: listeners})


async def test_a_client_changes_its_key_in_one_secret_under_load_and_is_never_refused(
    tmp_path: Path,
) -> None:
    async with echoes("origin") as running:
        port = free_port()

        def found(*keys: str) -> list[str]:
            return [
                gateway(f"name: http, port: {port}, protocol: HTTP"),
                backend("origin", running["origin"].port),
                secret("clients", written(ann="\n".join(map(hashed, keys)), ben=hashed(BEN))),
                *keyed("here", "{name: clients}", "{headers: [x-one]}"),
            ]

        old, new = new_key(), new_key()
        shown, used = [old], [old] * 4
        answers, stop = Counter[int](), asyncio.Event()

        async def load(at: int) -> None:
            while not stop.is_set():
                (key,) = shown
                for one in (key, BEN):
                    got = await call(port, host="here.test", headers={"x-one": one})
                    answers[got.status] += 1
                used[at] = key

        async def all_use(key: str) -> bool:
            return used == [key] * 4

        async with edge(tmp_path, *found(old)) as made:
            scene = Scene(made, port)
            await until(lambda: _is(scene, "here", 200, x_one=old))
            loading = [asyncio.create_task(load(at)) for at in range(4)]
            for _ in range(5):
                assert await _is(scene, "here", 401, x_one=new)
                await made.apply(*found(old, new))
                await until(lambda: _is(scene, "here", 200, x_one=new))  # noqa: B023
                shown[:] = [new]
                await until(lambda: all_use(new))  # noqa: B023
                await made.apply(*found(new))
                await until(lambda: _is(scene, "here", 401, x_one=old))  # noqa: B023
                old, new = new, new_key()
            stop.set()
            await asyncio.gather(*loading)
            assert set(answers) == {200}, answers
