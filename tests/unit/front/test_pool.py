"""Worker processes, real ones, with clients of gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controlplane._pb import access_log_pb2, load_stats_pb2, rate_limit_pb2
from controlplane._pb.base_pb2 import Node as NodeMessage
from controlplane._pb.base_pb2 import Status
from controlplane._pb.status_pb2 import ClientStatusRequest, ClientStatusResponse
from controlplane.errors import StartupError
from controlplane.front import pool as module
from controlplane.front.door import Door
from controlplane.front.pool import Pool
from controlplane.limits.limiter import Limiter
from controlplane.limits.memory import MemoryCounters
from controlplane.limits.metrics import LimitMetrics
from controlplane.limits.rules import Rule
from controlplane.resources.rate_limit import OPEN, RULE
from controlplane.xds import SnapshotCache
from controlplane.xds.csds import SERVICE
from controlplane.xds.kinds import CLUSTER, ENDPOINT
from controlplane.xds.rate_limits import SERVICE as LIMITS
from tests.unit.xds.test_server import ADS, answer, ask
from tests.unit.xds.test_telemetry import ALS, LRS, Sink

FLEET = "default/edge"
DEADLINE_S = 60.0
STREAMS = 12
"""The kernel gives each to either worker; that all go to one happens once in two thousand."""


@dataclass
class Running:
    """A pool, its cache, and where its reports go."""

    pool: Pool
    cache: SnapshotCache
    sink: Sink
    registry: CollectorRegistry
    limiter: Limiter

    def show(self, body: bytes, **more: bytes) -> None:
        self.cache.set(FLEET, {CLUSTER: {}, ENDPOINT: {"a": body, **more}})

    async def value(self, name: str, **labels: str) -> float:
        """Of a metric, summed over the workers."""
        await self.pool.refresh()
        families = text_string_to_metric_families(generate_latest(self.registry).decode())
        return sum(
            one.value
            for family in families
            for one in family.samples
            if one.name == name and labels.items() <= one.labels.items()
        )


@contextlib.asynccontextmanager
async def running(workers: int = 2, **door: Any) -> AsyncIterator[Running]:  # noqa: ANN401
    cache, sink, registry = SnapshotCache(), Sink(), CollectorRegistry()
    limiter = Limiter(MemoryCounters(), LimitMetrics(registry))
    address = door.pop("address", "127.0.0.1:0")
    pool = Pool(
        Door(address, **door),
        workers,
        cache,
        access_logs=sink,
        load_reports=sink,
        rate_limits=limiter,
        registry=registry,
    )
    made = Running(pool, cache, sink, registry, limiter)
    pool.know([FLEET])
    made.show(b"1")
    await pool.start()
    try:
        yield made
    finally:
        await pool.stop(0.5)


@contextlib.asynccontextmanager
async def connected(port: int, node_id: str, path: str = ADS) -> AsyncIterator[Any]:
    """A stream on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        method: Any = channel.stream_stream(path)  # type: ignore[call-arg]
        call = method(timeout=DEADLINE_S)
        yield call
        call.cancel()


async def take(call: Any, node_id: str = "", cluster: str = "edge") -> bytes:  # noqa: ANN401
    """Subscribe, or only read on; the body of the one resource, which is taken."""
    if node_id:
        node = NodeMessage(id=node_id, cluster=cluster)  # a bare name
        await ask(call, type_url=ENDPOINT, resource_names=["a"], node=node)
    got = await answer(call)
    await ask(call, type_url=ENDPOINT, resource_names=["a"], response_nonce=got.nonce)
    return bytes(got.resources[0].value)


@contextlib.asynccontextmanager
async def streams(port: int) -> AsyncIterator[list[Any]]:
    async with contextlib.AsyncExitStack() as stack:
        calls = []
        for i in range(STREAMS):
            call = await stack.enter_async_context(connected(port, f"envoy-{i:02d}"))
            assert await take(call, f"envoy-{i:02d}") == b"1"
            calls.append(call)
        yield calls


async def until(condition: Callable[[], Any]) -> None:
    """Until it holds; an awaitable is awaited."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def test_streams_spread_over_the_workers_and_all_hear_of_a_change() -> None:
    async with running() as it, streams(it.pool.port) as calls:
        it.show(b"2")
        assert {await take(call) for call in calls} == {b"2"}
        clients = await it.pool.clients(FLEET)
        assert len(clients) == STREAMS
        spread = [await it.value("weir_xds_streams", worker=f"{i}") for i in (0, 1)]
        assert min(spread) >= 1
        assert sum(spread) == STREAMS
        assert await it.value("weir_workers") == 2
        assert await it.value("weir_worker_process_resident_memory_bytes", worker="1") > 1e6


async def test_the_state_of_all_envoys_is_told_by_whichever_worker() -> None:
    async with running() as it, streams(it.pool.port) as calls:
        names = [f"envoy-{i:02d}" for i in range(STREAMS)]
        await until(lambda: _synced(it, STREAMS))
        assert [one["node"] for one in await it.pool.proxies()] == names
        found = await it.pool.proxy("envoy-03")
        assert found is not None
        assert (found["fleet"], found["types"]["eds"]["state"]) == (FLEET, "SYNCED")
        assert await it.pool.proxy("nobody") is None
        document = await it.pool.resources("envoy-03", "acked", None)
        assert document is not None
        assert [one["name"] for one in document["types"]["eds"]["resources"]] == ["a"]
        assert await it.pool.resources("nobody", "acked", None) is None
        for _ in range(4):  # of either worker, most likely
            told = await _statuses(it.pool.port)
            assert sorted(one.node.id for one in told.config) == names
        await ask(calls[3], type_url=ENDPOINT, resource_names=["a"])
        error = Status(code=3, message="not this")
        it.show(b"3")
        got = await answer(calls[3])
        await ask(
            calls[3],
            type_url=ENDPOINT,
            resource_names=["a"],
            response_nonce=got.nonce,
            error_detail=error,
        )
        await until(lambda: _refused(it))


async def _synced(it: Running, number: int) -> bool:
    found = await it.pool.proxies()
    return len(found) == number and all(
        kind["state"] == "SYNCED" for one in found for kind in one["types"].values()
    )


async def _refused(it: Running) -> bool:
    found = await it.pool.proxy("envoy-03")
    return found is not None and found["types"]["eds"]["nacked"] == "not this"


async def test_two_streams_of_an_envoy_to_two_workers_are_one_client() -> None:
    async with running() as it, contextlib.AsyncExitStack() as stack:
        while not await _on_both(it):
            await take(await stack.enter_async_context(connected(it.pool.port, "x")), "x")
        told = await _statuses(it.pool.port)
        assert [one.node.id for one in told.config] == ["x"]
        assert [one.name for one in told.config[0].generic_xds_configs] == ["a"]


async def _on_both(it: Running, streams: int = 1) -> bool:
    """Whether each of two workers has so many streams."""
    return min(map(len, await it.pool.by_worker(FLEET))) >= streams


async def test_an_answer_that_is_too_large_with_that_of_others_is_refused_by_any_worker() -> None:
    async with running() as it, contextlib.AsyncExitStack() as stack:
        it.show(b"x" * 3_000_000)
        for number in range(50):  # one worker has a client, the other more than an answer holds
            call = await stack.enter_async_context(connected(it.pool.port, f"e{number:02}"))
            if await take(call, f"e{number:02}") == b"1":  # its worker has not heard yet
                await take(call)
            if await _on_both(it):
                break
        await until(lambda: _synced(it, number + 1))
        for _ in range(STREAMS):
            await until(lambda: _too_large(it.pool.port))


async def _too_large(port: int) -> bool:
    """Whether that is the answer; a worker that did not tell its part in time is asked again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _statuses(port)
    if caught.value.code() is grpc.StatusCode.UNAVAILABLE:
        return False
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "node_matchers" in (caught.value.details() or "")
    return True


async def test_no_part_is_told_while_a_worker_is_silent() -> None:
    request = ClientStatusRequest().SerializeToString()
    async with running() as it, contextlib.AsyncExitStack() as stack:
        asking = []
        for number in range(STREAMS):
            path = f"/{SERVICE}/StreamClientStatus"
            call = await stack.enter_async_context(connected(it.pool.port, f"{number}", path))
            await call.write(request)
            assert await call.read() is not grpc.aio.EOF  # type: ignore[attr-defined]
            asking.append(call)
        os.kill(workers()[0], signal.SIGSTOP)
        for call in asking:
            await call.write(request)
        ended = [asyncio.create_task(call.code()) for call in asking]
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)  # of the other worker
        assert {one.result() for one in ended if one.done()} == {grpc.StatusCode.UNAVAILABLE}
        first = next(call for call, one in zip(asking, ended, strict=True) if one.done())
        assert await first.details() == "other processes: no answer within 2 s"
        for one in ended:
            one.cancel()


async def _statuses(port: int) -> ClientStatusResponse:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        method: Any = channel.unary_unary(f"/{SERVICE}/FetchClientStatus")  # type: ignore[call-arg]
        raw = await method(ClientStatusRequest().SerializeToString(), timeout=20.0)
    return ClientStatusResponse.FromString(raw)


async def test_a_worker_that_is_killed_is_started_again_and_knows_all() -> None:
    async with running() as it:
        it.show(b"1", b=b"x")
        for i in range(2):
            os.kill(workers()[i], signal.SIGKILL)
            await until(lambda: it.pool.restarts == i + 1)  # noqa: B023
            await until(lambda: it.pool.serving == 2)
        it.show(b"2", b=b"x")
        async with contextlib.AsyncExitStack() as stack:
            for i in range(STREAMS):
                call = await stack.enter_async_context(connected(it.pool.port, f"e{i}"))
                assert await take(call, f"e{i}") == b"2"
        assert await it.value("weir_worker_restarts_total") == 2


def workers() -> list[int]:
    """Process ids of the workers of the pool, the oldest first."""
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in own if b"front.worker" in _command(pid)]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_what_envoys_report_reaches_the_sinks() -> None:
    node = NodeMessage(id="envoy-1", cluster="edge")
    logs = access_log_pb2.StreamAccessLogsMessage()
    logs.identifier.node.CopyFrom(node)
    async with running() as it:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.pool.port}") as channel:
            made: Any = channel
            call = made.stream_unary(ALS)()
            await call.write(logs.SerializeToString())
            await until(lambda: it.sink.logs)
            garbage = made.stream_unary(ALS)()
            await garbage.write(logs.SerializeToString())
            await garbage.write(b"\xff")
            assert await garbage.code() is grpc.StatusCode.INVALID_ARGUMENT
            report = load_stats_pb2.LoadStatsRequest(node=node)
            reports = made.stream_stream(LRS)()
            await reports.write(report.SerializeToString())
            await reports.read()
            await reports.write(b"")
            await until(lambda: len(it.sink.reports) == 2)
        ((proxy, _), _) = it.sink.logs
        assert (proxy.id, proxy.fleet) == ("envoy-1", "edge")
        assert [first for _, _, first in it.sink.reports] == [True, False]


async def test_a_port_that_is_taken_is_an_error_also_by_another_pool() -> None:
    async with running() as it:
        address = f"127.0.0.1:{it.pool.port}"
        with pytest.raises(StartupError, match="taken"):
            async with running(address=address):
                pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartupError, match="taken"):
            async with running(address=f"127.0.0.1:{taken.getsockname()[1]}"):
                pass


async def test_what_a_worker_cannot_serve_is_an_error_of_the_start(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("no certificate")
    (tmp_path / "tls.key").write_text("no key")
    with pytest.raises(StartupError, match=r"tls\.crt"):
        async with running(tls_cert=str(tmp_path / "tls.crt"), tls_key=str(tmp_path / "tls.key")):
            pass


async def test_whoever_is_cancelled_while_a_worker_is_ended_still_waits_for_its_end() -> None:
    idle = (sys.executable, "-c", "import time; time.sleep(60)")
    for turns in range(4):
        process = await asyncio.create_subprocess_exec(*idle)
        ending = asyncio.create_task(module._end_now(process))
        for _ in range(turns):
            await asyncio.sleep(0)
        ending.cancel()
        await asyncio.wait({ending})
        if turns:  # else it was cancelled before it began
            assert process.returncode is not None
        await module._end_now(process)


async def test_stop_ends_streams_and_processes() -> None:
    async with running() as it, streams(it.pool.port) as calls:
        assert len(workers()) == 2
        await it.pool.stop(1.0)
        assert {await call.code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
        assert not workers()


async def test_a_worker_that_hangs_is_ended_and_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PING_S", 0.1)
    monkeypatch.setattr(module, "HUNG_S", 0.5)
    async with running() as it:
        (hung, _) = workers()
        os.kill(hung, signal.SIGSTOP)
        await until(lambda: it.pool.restarts == 1 and it.pool.serving == 2)
        assert hung not in workers()


async def test_gateways_reach_a_worker_that_has_much_to_read() -> None:
    async with running() as it:
        for pid in workers():
            os.kill(pid, signal.SIGSTOP)
        for number in range(4):
            it.show(b"%d" % number * 3_000_000)
            await asyncio.sleep(0.05)
        it.pool.know([FLEET, "default/new"])
        it.cache.set("default/new", {ENDPOINT: {"a": b"new"}})
        for pid in workers():
            os.kill(pid, signal.SIGCONT)
        for i in range(STREAMS):
            await until(lambda: _is_new(it, f"e{i}"))  # noqa: B023


async def _is_new(it: Running, node_id: str) -> bool:
    """Whether the worker that it comes to knows its Gateway."""
    async with connected(it.pool.port, node_id) as call:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return await take(call, node_id, "new") == b"new"
    return False


async def test_an_envoy_that_came_before_its_gateway_is_taken_over_by_it() -> None:
    async with running() as it:
        it.cache.set("overlay", {ENDPOINT: {"a": b"overlay"}})
        async with connected(it.pool.port, "early") as call:
            assert await take(call, "early", "new") == b"overlay"
            it.cache.set("default/new", {ENDPOINT: {"a": b"new"}})
            it.pool.know([FLEET, "default/new"])
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        # The kernel may give it to a worker that hears of the Gateway a moment later.
        await until(lambda: _is_given(it.pool.port, "early", "new", b"new"))


async def _is_given(port: int, node_id: str, cluster: str, body: bytes) -> bool:
    """Whether a client that connects now is given this."""
    async with connected(port, node_id) as call:
        try:
            return await take(call, node_id, cluster) == body
        except grpc.aio.AioRpcError:
            return False


async def test_a_worker_runs_nothing_that_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "structlog.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    async with running() as it:
        assert it.pool.ready


async def test_nobody_is_ready_while_no_worker_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as it:
        assert it.pool.ready
        monkeypatch.setattr(module, "WAITS_S", (30.0,))
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not it.pool.ready)


async def test_workers_count_together_for_rate_limits() -> None:
    """Whichever worker is asked, one process decides."""
    asked = rate_limit_pb2.RateLimitRequest(domain=OPEN)
    asked.descriptors.add().entries.add(key=RULE, value=b"a/b/0")
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with running() as it:
        it.limiter.know({"a/b/0": Rule("a/b/0", 20, 86_400)})
        codes = []
        for _ in range(30):  # each on a connection of its own: some to either worker
            address = f"127.0.0.1:{it.pool.port}"
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                method: Any = channel.unary_unary(f"/{LIMITS}/ShouldRateLimit")  # type: ignore[call-arg]
                told = await method(asked.SerializeToString(), timeout=DEADLINE_S)
            codes.append(rate_limit_pb2.RateLimitResponse.FromString(told).overall_code)
    ok, over = rate_limit_pb2.RateLimitResponse.OK, rate_limit_pb2.RateLimitResponse.OVER_LIMIT
    assert codes == [ok] * 20 + [over] * 10
