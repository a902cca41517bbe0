"""What a ClientPolicy says of clients, by requests through the real Envoy: one Envoy, a port for
each policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import pytest_asyncio

from controlplane.lab.envoy import Envoy, free_port
from tests.envoy.echo import Answer, call, echoes
from tests.envoy.edge import backend, edge, gateway, policy, route, to, until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 20.0
POLICIES = {
    "usual": "",
    "hops": "  clientIPDetection: {xForwardedFor: {numTrustedHops: 2}}\n",
    "header": "  clientIPDetection: {customHeader: {name: X-Client-Ip, failClosed: true}}\n",
    "proxied": "  proxyProtocol: {}\n",
    "either": "  proxyProtocol: {optional: true}\n",
    "lenient": """\
  headers: {withUnderscoresAction: Allow, preserveXRequestID: true, enableEnvoyHeaders: true}
  path: {escapedSlashesAction: KeepUnchanged, disableMergeSlashes: true}
""",
    "strict": """\
  headers: {withUnderscoresAction: DropHeader, maxSize: 2Ki, maxCount: 20}
  path: {escapedSlashesAction: RejectRequest}
""",
    "forwards": """\
  path: {escapedSlashesAction: UnescapeAndForward}
  http2: {maxConcurrentStreams: 7, initialStreamWindowSize: 128Ki}
""",
    "hurried": """\
  timeout: {http: {requestHeadersTimeout: 200ms, requestReceivedTimeout: 400ms}}
""",
    "restless": "  timeout: {http: {idleTimeout: 1s, streamIdleTimeout: 1s}}\n",
    "few": """\
  connection: {connectionLimit: {value: 1, closeDelay: 100ms}, bufferLimit: 16Ki}
""",
    "watched": "  healthCheck: {path: /-/ready}\n",
    "old": "  http1: {http10: {useDefaultHost: true}}\n",
}


@dataclass(frozen=True)
class Ports:
    envoy: Envoy
    by_policy: dict[str, int]

    async def call(self, name: str, path: str = "/", **headers: str) -> Answer:
        """A request to the port of a policy; `_` in names of headers stands for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(self.by_policy[name], path, headers=sent)

    async def raw(self, name: str, text: str) -> str:
        """What comes back for these bytes until Envoy closes; nothing where it does so at once."""
        async with asyncio.timeout(DEADLINE_S), self.connected(name) as (reader, writer):
            writer.write(text.encode())
            try:
                return (await reader.read()).decode()
            except ConnectionResetError:  # closed with bytes of ours unread
                return ""

    @asynccontextmanager
    async def connected(
        self, name: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.by_policy[name])
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ports]:
    numbers = {name: free_port() for name in POLICIES}
    hosts = {"old": "hostname: old.test, "}
    documents = [
        gateway(
            *(
                f"name: {name}, {hosts.get(name, '')}port: {number}, protocol: HTTP"
                for name, number in numbers.items()
            )
        ),
        route("all", f"[{{{to('a')}}}]"),
        *(
            policy("ClientPolicy", name, f"Gateway/edge/{name}", said)
            for name, said in POLICIES.items()
            if said
        ),
    ]
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(echoes("a"))
        folder = tmp_path_factory.mktemp("edge")
        made = await stack.enter_async_context(
            edge(folder, *documents, backend("a", running["a"].port))
        )
        found = Ports(made.envoy, numbers)

        async def open_() -> bool:
            return (await found.call("usual")).status == 200

        await until(open_)
        yield found


async def test_the_address_of_the_client_is_that_of_the_connection_unless_a_proxy_is_trusted(
    ports: Ports,
) -> None:
    sent = {"x_forwarded_for": "192.0.2.1, 192.0.2.2, 192.0.2.3"}
    believed = "x-envoy-external-address"
    assert (await ports.call("usual", **sent)).sent.headers[believed] == "127.0.0.1"
    assert (await ports.call("hops", **sent)).sent.headers[believed] == "192.0.2.2"


async def test_a_header_of_the_proxy_in_front_is_wanted_and_strangers_say_nothing_to_envoy(
    ports: Ports,
) -> None:
    assert (await ports.call("header")).status == 403
    assert (await ports.call("header", x_client_ip="nobody")).status == 403
    got = await ports.call(
        "header", x_client_ip="192.0.2.9", x_envoy_retry_on="5xx", X_Envoy_Decorator_Operation="x"
    )
    assert got.status == 200
    assert "x-envoy-retry-on" not in got.sent.headers
    assert "x-envoy-decorator-operation" not in got.sent.headers


async def test_the_proxy_protocol_says_who_the_client_is(ports: Ports) -> None:
    line = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"
    request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    for name in ("proxied", "either"):
        got = await ports.raw(name, line + request)
        assert '"x-envoy-external-address": "192.0.2.7"' in got
    assert await ports.raw("proxied", request) == ""
    assert '"x-envoy-external-address": "127.0.0.1"' in await ports.raw("either", request)


async def test_headers_with_underscores_are_refused_unless_it_is_said(ports: Ports) -> None:
    request = "GET / HTTP/1.1\r\nhost: x\r\nx_odd: 1\r\nconnection: close\r\n\r\n"
    assert (await ports.raw("usual", request)).startswith("HTTP/1.1 400")
    assert '"x_odd": "1"' in await ports.raw("lenient", request)
    dropped = await ports.raw("strict", request)
    assert dropped.startswith("HTTP/1.1 200")
    assert "x_odd" not in dropped


async def test_paths_are_made_plain_unless_it_is_said(ports: Ports) -> None:
    path = "/a//b%2Fc"
    redirected = await ports.call("usual", path)
    assert (redirected.status, redirected.headers["location"]) == (307, "/a/b/c")
    assert (await ports.call("lenient", path)).sent.path == path
    assert (await ports.call("strict", path)).status == 400
    assert (await ports.call("forwards", path)).sent.path == "/a/b/c"


async def test_headers_of_envoy_and_ids_of_clients(ports: Ports) -> None:
    theirs = "11111111-2222-4333-8444-555555555555"
    usual = await ports.call("usual", x_request_id=theirs)
    assert usual.sent.headers["x-request-id"] != theirs
    told = ("x-envoy-expected-rq-timeout-ms", "x-envoy-upstream-service-time")
    assert told[0] not in usual.sent.headers
    assert told[1] not in usual.headers
    kept = await ports.call("lenient", x_request_id=theirs)
    assert kept.sent.headers["x-request-id"] == theirs
    assert told[0] in kept.sent.headers
    assert told[1] in kept.headers


async def test_large_and_many_headers_are_refused(ports: Ports) -> None:
    large, many = {"x_large": "x" * 3000}, {f"x_{at}": "1" for at in range(30)}
    assert (await ports.call("usual", **large, **many)).status == 200
    assert (await ports.call("strict", **large)).status == 431
    assert (await ports.call("strict", **many)).status == 431


async def test_slow_clients_are_answered_408_and_idle_ones_let_go(ports: Ports) -> None:
    headers = "GET / HTTP/1.1\r\nhost: x\r\n"
    body = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf"
    *slow, idle = await asyncio.gather(
        ports.raw("hurried", headers),
        ports.raw("hurried", body),
        ports.raw("restless", body),
        ports.raw("restless", f"{headers}\r\n"),
    )
    assert [one.partition(" Request")[0] for one in slow] == ["HTTP/1.1 408"] * 3
    assert idle.startswith("HTTP/1.1 200")


async def test_a_connection_beyond_the_limit_is_closed(ports: Ports) -> None:
    async with ports.connected("few") as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert await ports.raw("few", "GET / HTTP/1.1\r\nhost: x\r\n\r\n") == ""
    await until(lambda: _free(ports))


async def _free(ports: Ports) -> bool:
    request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    return (await ports.raw("few", request)).startswith("HTTP/1.1 200")


async def test_what_one_client_may_have_underway_is_told_to_it(ports: Ports) -> None:
    codes = h2.settings.SettingCodes
    for name, streams, window in (("usual", 100, 64 * 1024), ("forwards", 7, 128 * 1024)):
        told = await _settings(ports, name)
        assert told[codes.MAX_CONCURRENT_STREAMS] == streams
        assert told[codes.INITIAL_WINDOW_SIZE] == window


async def _settings(ports: Ports, name: str) -> dict[int, int]:
    """What Envoy says at the beginning of a connection of HTTP/2."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    async with asyncio.timeout(DEADLINE_S), ports.connected(name) as (reader, writer):
        writer.write(client.data_to_send())
        while data := await reader.read(4096):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    return {code: one.new_value for code, one in event.changed_settings.items()}
    raise AssertionError("it said nothing")


async def test_envoy_answers_for_itself(ports: Ports) -> None:
    got = await ports.call("watched", "/-/ready")
    assert (got.status, got.body) == (200, "")
    assert (await ports.call("watched", "/-/ready/else")).sent.path == "/-/ready/else"
    assert (await ports.call("usual", "/-/ready")).sent.path == "/-/ready"


async def test_http_1_0_is_spoken_where_it_is_said(ports: Ports) -> None:
    assert (await ports.raw("usual", "GET / HTTP/1.0\r\n\r\n")).startswith("HTTP/1.1 426")
    got = await ports.raw("old", "GET / HTTP/1.0\r\n\r\n")
    assert got.startswith("HTTP/1.0 200")
    assert '"host": "old.test"' in got
