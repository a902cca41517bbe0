from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from controlplane.lab.backends import BackendSpec, Event, Happening, run_backends
from controlplane.lab.child import ChildError
from controlplane.lab.load import play
from controlplane.lab.results import Live, Outcome
from controlplane.lab.schedule import Schedule


def schedule(at_s: list[float], work_s: float, until_s: float = 0.5) -> Schedule:
    count = len(at_s)
    return Schedule(
        np.array(at_s), np.full(count, work_s), np.zeros(count, dtype=np.intp), until_s, 1
    )


async def test_every_lane_gets_the_same_requests_and_all_are_counted(tmp_path: Path) -> None:
    lanes = ("one", "two")
    looks: list[Live] = []
    async with run_backends([BackendSpec(workers=4)], tmp_path, lanes=lanes) as backends:
        played = await play(
            schedule(np.linspace(0.0, 0.9, 60).tolist(), 0.01, 1.0),
            backends.ports,
            tmp_path,
            on_live=looks.append,
        )
        counted = await backends.counters()
    for name in lanes:
        assert played.lanes[name].requests == 60
        assert played.lanes[name].errors == 0
        assert counted[name][0].arrived == counted[name][0].served == 60
        assert played.lanes[name].latency_s.min() >= 0.008
    assert looks
    assert set(looks[-1].lanes) == set(lanes)


async def test_latency_counts_from_the_scheduled_time_while_a_queue_grows(tmp_path: Path) -> None:
    """D/D/1 above its capacity: each waits longer than the one before, and none is sent later."""
    async with run_backends([BackendSpec(workers=1)], tmp_path) as backends:
        played = await play(schedule([0.02 * i for i in range(20)], 0.04), backends.ports, tmp_path)
    latency = played.lanes["lane"].latency_s
    expected = np.array([0.04 + 0.02 * i for i in range(20)])
    assert np.all(latency >= expected - 0.005)


async def test_warm_up_is_played_and_not_counted(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path) as backends:
        played = await play(schedule([-0.3, -0.2, 0.1, 0.2], 0.001), backends.ports, tmp_path)
        counted = await backends.counters()
    assert played.lanes["lane"].requests == 2
    assert counted["lane"][0].arrived == 4


async def test_an_answer_after_the_deadline_is_an_error(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path) as backends:
        played = await play(schedule([0.0], 30.0), backends.ports, tmp_path, deadline_s=0.4)
    run = played.lanes["lane"]
    assert run.status.tolist() == [Outcome.DEADLINE]
    assert np.isnan(run.latency_s).all()


async def test_nobody_listening_is_an_error_of_each_request(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path) as backends:
        ports = backends.ports
    played = await play(schedule([0.0, 0.1], 0.01), ports, tmp_path)
    assert played.lanes["lane"].outcomes() == {"connection refused": 2}


async def test_requests_over_the_bound_are_told_and_make_the_run_invalid(tmp_path: Path) -> None:
    async with run_backends([BackendSpec(workers=1)], tmp_path) as backends:
        played = await play(
            schedule([0.001 * i for i in range(8)], 0.2),
            backends.ports,
            tmp_path,
            max_in_flight=3,
        )
    assert played.lanes["lane"].outcomes() == {Outcome.TOO_MANY.text: 5}
    assert "over the generator's own bound" in played.problems()[-1]


async def test_events_without_backends_to_happen_to_are_refused(tmp_path: Path) -> None:
    event = Event(0.0, 0, Happening.RESTORE)
    with pytest.raises(ValueError, match="events happen to backends"):
        await play(schedule([0.0], 0.01), {}, tmp_path, events=[event])


async def test_a_backend_turns_slow_fails_and_is_well_again_on_time(tmp_path: Path) -> None:
    events = [
        Event(1.0, 0, Happening.SLOW, 10.0),
        Event(2.0, 0, Happening.FAIL, 1.0),
        Event(3.0, 0, Happening.RESTORE),
    ]
    async with run_backends([BackendSpec()], tmp_path) as backends:
        played = await play(
            schedule([0.5, 1.5, 2.5, 3.5], 0.02, 4.0),
            backends.ports,
            tmp_path,
            backends=backends,
            events=events,
        )
    run = played.lanes["lane"]
    assert run.status.tolist() == [200, 200, 503, 200]
    assert run.latency_s[1] > 0.19


async def test_a_backend_says_its_utilisation_when_asked_to(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path, orca=("lane",)) as backends:
        reader, writer = await asyncio.open_connection("127.0.0.1", backends.ports["lane"][0])
        writer.write(b"GET /10000 HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b"ok"), 10.0)
        writer.close()
        await writer.wait_closed()
    assert b'endpoint-load-metrics: JSON {"application_utilization": 0.' in answer


async def test_what_a_backend_does_not_understand_is_refused(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path) as backends:
        reader, writer = await asyncio.open_connection("127.0.0.1", backends.ports["lane"][0])
        writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10.0)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()


async def test_a_child_that_ends_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with run_backends([BackendSpec()], tmp_path) as backends:
        backends._child.process.kill()
        with pytest.raises(ChildError, match="ended unexpectedly"):
            await backends.counters()
