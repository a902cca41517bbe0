"""Compression, the response cache, scripts and services on the way, through the real Envoy, with
the documents of examples/09-edge-functions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from controlplane.lab.envoy import free_port
from controlplane.xds.status import Nack
from tests.envoy.echo import Answer, call
from tests.envoy.edge import (
    Edge,
    backend,
    edge,
    gateway,
    policy,
    publish,
    route,
    secret,
    to,
    until,
)
from tests.envoy.files import ETAG, TEXT, Files
from tests.envoy.inspector import Inspector, inspecting
from tests.envoy.origin import running
from tests.envoy.wasm_module import module

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "09-edge-functions"
SIGNER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class World:
    """The example, running."""

    made: Edge
    port: int
    origin: Files
    inspector: Inspector
    documents: list[str]

    async def call(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """One request."""
        return await call(self.port, path, headers=headers)


def public_key() -> str:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return SIGNER.public_key().public_bytes(encoding, form).hex()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    port = free_port()
    async with running(Files("shop")) as origins, inspecting() as inspector:
        text = "---\n".join((EXAMPLE / name).read_text() for name in ("edge.yaml", "policies.yaml"))
        for written, real in (
            ("port: 8080", f"port: {port}"),
            ("port: 9001", f"port: {origins['shop'].port}"),
            ("port: 9002", f"port: {inspector.port}"),
            ("PUBLIC-KEY", public_key()),
        ):
            assert written in text
            text = text.replace(written, real)
        folder = tmp_path_factory.mktemp("edge")
        async with edge(folder, text) as made:
            yield World(made, port, origins["shop"], inspector, [text])


async def curl(port: int, path: str, *options: str) -> tuple[bytes, str]:
    """What the body is once it is decoded, and the head."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-D", "/dev/stderr", *options, f"http://127.0.0.1:{port}{path}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    body, head = await process.communicate()
    assert process.returncode == 0
    return body, head.decode().lower()


@pytest.mark.parametrize("accepted", ["br", "zstd", "gzip"])
async def test_answers_are_compressed_as_the_client_likes(world: World, accepted: str) -> None:
    options = ("--compressed", "-H", f"accept-encoding: {accepted}")
    body, head = await curl(world.port, f"/assets/{accepted}", *options)
    assert body.decode() == TEXT
    assert f"content-encoding: {accepted}\r\n" in head
    assert "vary: accept-encoding" in head
    assert f"etag: w/{ETAG}" in head
    raw, _ = await curl(world.port, f"/assets/{accepted}", *options[1:])
    assert len(raw) < len(TEXT) / 4


async def test_of_encodings_liked_equally_brotli_is_taken(world: World) -> None:
    head = (await curl(world.port, "/assets/all", "-H", "accept-encoding: gzip, zstd, br"))[1]
    assert "content-encoding: br\r\n" in head


async def test_what_is_not_asked_for_or_not_declared_is_not_compressed(world: World) -> None:
    plain = await world.call("/assets/plain")
    assert (plain.body, plain.headers["etag"]) == (TEXT, ETAG)
    other = await world.call("/api/plain", {"accept-encoding": "gzip"})
    assert (other.body, other.headers.get("content-encoding")) == (TEXT, None)


async def test_parts_and_etags_pass(world: World) -> None:
    asked = {"range": "bytes=5-9", "accept-encoding": "gzip"}
    for path in ("/assets/part", "/api/part"):
        part = await world.call(path, asked)
        assert (part.status, part.body, part.headers["etag"]) == (206, TEXT[5:10], ETAG)
        assert part.headers["content-range"] == f"bytes 5-9/{len(TEXT)}"
        same = await world.call(path, {"if-none-match": f"W/{ETAG}", "accept-encoding": "gzip"})
        assert (same.status, same.headers["etag"]) == (304, ETAG)


async def test_an_answer_is_kept_until_another_version_is_declared(world: World) -> None:
    path = "/assets/kept?size=1"
    first = await world.call(path)
    assert "age" not in first.headers
    again = await world.call(path)
    assert again.body == TEXT
    assert int(again.headers["age"]) >= 0
    assert asked(world, path) == 1
    assert "age" not in (await world.call("/assets/kept?size=2")).headers
    private = {"authorization": "Bearer x"}
    assert "age" not in (await world.call(path, private)).headers
    listeners = await _listener_updates(world.made)
    await world.made.apply(world.documents[0].replace('version: "1"', 'version: "2"'))
    assert "age" not in (await world.call(path)).headers
    assert "age" in (await world.call(path)).headers
    assert asked(world, path) == 3
    assert await _listener_updates(world.made) == listeners


async def test_what_one_client_or_port_was_answered_is_kept_for_no_other(world: World) -> None:
    port, other = free_port(), free_port()
    keys = (
        "  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}], "
        "forwardClientIDHeader: x-client, sanitize: true}\n"
    )
    documents = [
        gateway(
            f"name: http, port: {port}, protocol: HTTP",
            f"name: other, port: {other}, protocol: HTTP",
        ),
        backend("shop", world.origin.port),
        secret("keys", {"ann": b"the-key-of-ann", "ben": b"the-key-of-ben"}),
        route("keys", f"[{{{to('shop')}}}]", hosts="[keys.test]"),
        policy("SecurityPolicy", "keys", "HTTPRoute/keys", keys),
        *(
            route(one, f"[{{{to('shop')}}}]", parents=f"[{{name: edge, sectionName: {one}}}]")
            for one in ("http", "other")
        ),
        *(
            policy("TrafficPolicy", one, f"HTTPRoute/{one}", "  responseCache: {}\n")
            for one in ("http", "other")
        ),
    ]
    cached = policy("TrafficPolicy", "keys", "HTTPRoute/keys", "  responseCache: {CACHE}\n")

    async def is_kept(path: str, ask: Callable[[], Awaitable[Answer]]) -> bool:
        await ask()
        before = asked(world, path)
        return "age" in (await ask()).headers and asked(world, path) == before

    async def ann() -> Answer:
        return await call(port, "/me?a=1", host="keys.test", headers={"x-key": "the-key-of-ann"})

    told = "say who they are, by SecurityPolicy default/keys"
    await world.made.apply(*documents, cached.replace("CACHE", ""), faults=[told])
    assert not await is_kept("/me?a=1", ann)
    await world.made.apply(*documents, cached.replace("CACHE", "forAuthenticated: true"))
    assert await is_kept("/me?a=1", ann)
    ben = await call(port, "/me?a=1", host="keys.test", headers={"x-key": "the-key-of-ben"})
    assert "age" in ben.headers
    # Routes of two ports that take the same host.
    assert await is_kept("/both?a=1", lambda: call(other, "/both?a=1", host="some.test"))
    assert "age" not in (await call(port, "/both?a=1", host="some.test")).headers
    await world.made.apply(*world.documents)


async def test_answers_in_files_make_room_for_new_ones(world: World, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "kept"
    folder.mkdir()
    files = f"files: {{path: {folder}, maxSize: {1024 * 1024}}}"
    await world.made.apply(
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("shop", world.origin.port),
        route("files", f"[{{{to('shop')}}}]"),
        policy("TrafficPolicy", "files", "HTTPRoute/files", f"  responseCache: {{{files}}}\n"),
    )
    await call(port, "/first")

    async def kept() -> bool:
        return "age" in (await call(port, "/first")).headers

    await until(kept)
    for at in range(200):  # three times what there is room for
        await call(port, f"/many/{at}")

    async def made_room() -> bool:
        return sum(one.stat().st_size for one in folder.iterdir()) < 1.2 * 1024 * 1024

    await until(made_room)
    await world.made.apply(*world.documents)


def asked(world: World, path: str) -> int:
    """How often the origin was asked for it, in any version."""
    paths = (one.path.partition("&weir-cache-version=")[0] for one in world.origin.received)
    return Counter(paths)[path]


async def _listener_updates(made: Edge) -> int:
    stats = await made.envoy.stats("listener_manager.listener_(added|modified|in_place_updated)")
    return sum(stats.values())


def signature(path: str, till: int) -> dict[str, str]:
    signed = SIGNER.sign(f"GET x {path} {till}".encode(), padding.PKCS1v15(), hashes.SHA256())
    return {"x-origin-signature": f"{till}.{signed.hex()}"}


async def test_a_script_lets_in_what_the_cdn_signed(world: World) -> None:
    soon, past = int(time.time()) + 600, int(time.time()) - 10
    good = await world.call("/origin/a", signature("/origin/a", soon))
    assert (good.status, good.body) == (200, TEXT)
    seen = world.origin.received[-1]
    assert seen.path == "/origin/a"
    assert "x-origin-signature" not in seen.headers
    for headers in (
        {},
        signature("/origin/b", soon),
        signature("/origin/a", past),
        {"x-origin-signature": f"{soon}.00"},
        {"x-origin-signature": "x"},
    ):
        answer = await world.call("/origin/a", headers)
        assert (answer.status, answer.body) == (403, "not signed by the CDN\n")
    assert world.origin.asked["/origin/a"] == 1


async def test_a_script_has_nothing_of_the_machine_it_runs_on(world: World) -> None:
    port = free_port()
    told = """  lua:
    - type: Inline
      inline: |
        local function names(from)
          local found = {}
          for name in pairs(from) do found[#found + 1] = name end
          table.sort(found)
          return table.concat(found, " ")
        end
        function envoy_on_request(h)
          local dump = tostring(("").dump)
          h:respond({[":status"] = "200"}, names(_G) .. "|" .. names(os) .. "|" .. dump)
        end
"""
    await world.made.apply(
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("shop", world.origin.port),
        route("tells", f"[{{{to('shop')}}}]"),
        policy("TrafficPolicy", "tells", "HTTPRoute/tells", told),
    )
    everything, of_os, dump = (await call(port)).body.split("|")
    harmless = {"EnvoyTimestampResolution", "math", "os", "pcall", "string"}
    assert harmless < set(everything.split())
    assert not set(everything.split()) & {
        *("io", "debug", "package", "require", "module", "jit", "ffi", "dofile", "load"),
        *("loadfile", "loadstring", "getfenv", "setfenv", "getmetatable", "coroutine", "newproxy"),
        "rawset",
    }
    assert (of_os, dump) == ("clock date difftime time", "nil")
    await world.made.apply(*world.documents)


@pytest.mark.parametrize(
    "twist",
    [
        "",
        "do return end",
        "rawset = rawset or function() end; rawset(_G, 'envoy_on_request', envoy_on_request)",
        "envoy_on_request = nil; function envoy_on_request(h) call(h) end",
        "pcall(setmetatable, _G, nil); _G.envoy_on_request = call",
        "string.sub = function() return 'default/' end; pairs = function() return next, {} end",
    ],
)
async def test_a_script_calls_backends_of_its_namespace_alone(world: World, twist: str) -> None:
    port = free_port()
    calls = """  lua:
    - type: Inline
      inline: |
        function call(h)
          local to = h:headers():get("x-to")
          local sent = {[":method"] = "GET", [":path"] = "/called", [":authority"] = "a"}
          local headers = h:httpCall(to, sent, "", 5000)
          h:respond({[":status"] = "200"}, headers[":status"])
        end
        function envoy_on_request(h) call(h) end
        TWIST
"""
    await world.made.apply(
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("shop", world.origin.port),
        backend("other", world.origin.port).replace("name: other", "name: a, namespace: other"),
        route("calls", f"[{{{to('shop')}}}]"),
        policy("TrafficPolicy", "calls", "HTTPRoute/calls", calls.replace("TWIST", twist)),
    )
    good = await call(port, headers={"x-to": "default/shop"})
    assert (good.status, good.body) == (200, "200")
    for other in ("weir", "other/a", "defaultx/shop", "weir.dev/h2/other/a", ""):
        got = await call(port, headers={"x-to": other})
        assert (got.status, got.body) == (500, "the script of this route failed\n")
    await world.made.apply(*world.documents)


async def test_a_service_changes_and_refuses_requests(world: World) -> None:
    good = await world.call("/api/a")
    assert (good.status, good.headers["x-inspected"]) == (200, "answer")
    assert world.origin.received[-1].headers["x-inspected"] == "request"
    bad = await world.call("/api/b", {"x-bad": "1"})
    assert (bad.status, bad.body) == (403, "inspected and refused\n")
    assert world.origin.asked["/api/b"] == 0
    assert world.inspector.paths[-2:] == ["/api/a", "/api/b"]


async def test_a_service_is_sent_bodies_where_it_is_to(world: World) -> None:
    plain = "request: {}, response: {}"
    assert plain in world.documents[0]
    for mode, wanted in (("Buffered", "A BODY"), ("Streamed", "A BODY"), (None, "a body")):
        more = f"request: {{body: {mode}}}, response: {{}}" if mode else plain
        await world.made.apply(world.documents[0].replace(plain, more))
        body, _ = await curl(world.port, "/api/body", "-d", "a body")
        assert body.decode() == TEXT
        assert world.origin.body == wanted


async def test_a_module_changes_requests(world: World, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "adds_header.wasm"
    file.write_bytes(module())
    code = f"code: {{type: File, file: {{path: {file}}}}}"
    plain = [
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("shop", world.origin.port),
        *(route(one, f"[{{{to('shop')}}}]", hosts=f"[{one}.test]") for one in ("with", "without")),
    ]
    adding = policy(
        "TrafficPolicy", "with", "HTTPRoute/with", f"  wasm: [{{name: adds-header, {code}}}]\n"
    )
    await world.made.apply(*plain)
    listeners = await _listener_updates(world.made)
    await world.made.apply(*plain, adding)
    for one, seen in (("with", "seen"), ("without", None)):
        assert (await call(port, host=f"{one}.test")).status == 200
        assert world.origin.received[-1].headers.get("x-wasm") == seen
    assert await _listener_updates(world.made) == listeners
    await world.made.apply(*world.documents)


async def test_what_cannot_be_asked_fails_closed_unless_said_otherwise(world: World) -> None:
    port, away = free_port(), free_port()
    script = "function envoy_on_request(h) h:headers():add('x-a', '1') end"
    lua = f'  lua: [{{type: Inline, inline: "{script}"}}]\n'
    service = "backendRefs: [{name: away}]"
    documents = [
        gateway(f"name: http, port: {port}, protocol: HTTP"),
        backend("shop", world.origin.port),
        backend("away", away),
        *(route(one, f"[{{{to('shop')}}}]", hosts=f"[{one}.test]") for one in ("shut", "open")),
        policy("TrafficPolicy", "shut", "HTTPRoute/shut", f"  extProc: [{{{service}}}]\n"),
        policy(
            "TrafficPolicy", "open", "HTTPRoute/open",
            f"  extProc: [{{{service}, failOpen: true}}]\n{lua}",
        ),
    ]  # fmt: skip
    await world.made.apply(*documents)
    assert (await call(port, host="shut.test")).status == 500
    assert (await call(port, host="open.test")).status == 200
    assert world.origin.received[-1].headers["x-a"] == "1"
    await world.made.apply(*world.documents)


@pytest.mark.parametrize(
    "broken",
    [
        "lua: [{type: Inline, inline: 'function envoy_on_request(h'}]",
        "wasm: [{name: none, code: {type: File, file: {path: /does/not/exist.wasm}}}]",
    ],
)
async def test_what_envoy_cannot_load_it_refuses_and_goes_on(world: World, broken: str) -> None:
    cached = 'responseCache: {version: "1"}'
    assert cached in world.documents[0]
    text = world.documents[0].replace(cached, broken)
    publish(world.made.cache, world.made.translator, text)

    async def refused() -> bool:
        return any(isinstance(one, Nack) for one in world.made.events)

    await until(refused)
    assert (await world.call("/assets/still")).status == 200
    assert (await world.call("/api/still")).headers["x-inspected"] == "answer"
    world.made.events.clear()
    await world.made.apply(*world.documents)
