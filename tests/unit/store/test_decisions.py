from __future__ import annotations

import contextlib
import errno
import resource
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from controlplane.model import (
    Estimate,
    Grouping,
    Proposal,
    Service,
    Situation,
    Verdict,
    Weights,
)
from controlplane.model.decisions import CLOSED, OPEN, Decision, End, Head, Record
from controlplane.store import DecisionLog, Segments
from tests.fakes import look, service
from tests.unit.store.background import running, until

LINE = b"x" * 99 + b"\n"
SIX = len(msgspec.json.encode(Head())) + 1 + 6 * len(LINE) + 64
"""Bytes of a file with six of them."""


def decision(of: Service | None = None) -> Decision:
    """Two groups of two endpoints, by `model`."""
    of = of or service(policy="model")
    seen = look(of, 5.0)
    index = np.arange(len(seen.endpoints)) % 2
    grouping = Grouping(seen.endpoints, ("a", "b"), index)
    shares = np.array([0.5, 0.5])
    situation = Situation(of, seen, Estimate.unknown(seen.endpoints), grouping, shares)
    verdict = Verdict(of, grouping, shares, Weights((1, 1)), changed=False)
    return Decision(1e9, 5.0, situation, Proposal(shares, "model"), None, verdict)


class Disk:
    """Segments that fail, or hang, when told to."""

    def __init__(self) -> None:
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()
        self.written = self.closed = 0

    def append(self, lines: Sequence[bytes]) -> None:
        assert self.gate.wait(20.0)
        if self.failing:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.written += len(lines)

    def close(self) -> None:
        self.closed += 1


def segments(folder: Path, *, each: int = SIX, files: int = 3) -> Segments:
    return Segments(folder, most_bytes=each * files, files=files, wall_clock=lambda: 1e9)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk with so much room for each: what is beyond is cut off, then refused."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_file_is_closed_and_another_begun(tmp_path: Path) -> None:
    written = segments(tmp_path / "log")
    written.append([LINE] * 6)
    (first,) = names(tmp_path / "log")
    assert first.endswith(OPEN)
    written.append([LINE] * 2)
    closed, open_ = names(tmp_path / "log")
    assert closed == first.removesuffix(OPEN) + CLOSED
    assert open_.endswith(OPEN)
    written.close()
    assert written.written == 8
    assert all(name.endswith(CLOSED) for name in names(tmp_path / "log"))
    found = [lines(path) for path in sorted((tmp_path / "log").iterdir())]
    assert sum(len(one) - 2 for one in found) == 8
    for one in found:
        assert msgspec.json.decode(one[0], type=Head) == Head()
        assert msgspec.json.decode(one[-1], type=End).end == len(one) - 2


def test_the_folder_never_takes_more_than_it_may_and_the_oldest_goes_first(tmp_path: Path) -> None:
    written, seen = segments(tmp_path), []
    for _ in range(40):
        written.append([LINE])
        seen.append(names(tmp_path))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * SIX
        assert len(seen[-1]) <= 3
    first = seen[0][0].removesuffix(OPEN)
    assert any(first + CLOSED in one for one in seen)
    assert not any(name.startswith(first) for name in seen[-1])
    assert len(seen[-1]) == 3


def test_files_of_an_earlier_process_are_kept_and_count(tmp_path: Path) -> None:
    before = Segments(tmp_path, most_bytes=3 * SIX, files=3, wall_clock=lambda: 9e8)
    before.append([LINE])  # and it dies: the file is never closed
    (left,) = names(tmp_path)
    written = segments(tmp_path)
    written.append([LINE])
    assert names(tmp_path)[0] == left
    written.append([LINE] * 20)
    assert left not in names(tmp_path)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    written = segments(tmp_path / "log")
    written.append([LINE])
    written.close()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "log").iterdir()] == [0o600]


def test_what_does_not_fit_on_the_disk_leaves_no_torn_line(tmp_path: Path) -> None:
    written = segments(tmp_path, each=10_000)
    written.append([LINE])
    (path,) = tmp_path.iterdir()
    size = path.stat().st_size
    with files_of_at_most(size + 150):
        with pytest.raises(OSError, match="File too large"):
            written.append([LINE] * 3)
        assert written.written == 2
        assert path.stat().st_size == size + 100
    written.append([LINE])  # there is room again, in the same file
    written.close()
    (closed,) = tmp_path.iterdir()
    assert lines(closed)[1:-1] == [LINE] * 3
    assert msgspec.json.decode(lines(closed)[-1], type=End).end == 3


def test_a_disk_that_is_full_from_the_start_costs_no_older_file(tmp_path: Path) -> None:
    older = Segments(tmp_path, most_bytes=3 * SIX, files=3, wall_clock=lambda: 9e8)
    older.append([LINE] * 18)
    older.close()
    before = names(tmp_path)[-2:]  # the first makes room for a new one
    full = segments(tmp_path)
    with files_of_at_most(10):
        for _ in range(5):
            with pytest.raises(OSError, match="File too large"):
                full.append([LINE])
    assert names(tmp_path) == before


async def test_decisions_are_in_the_file_when_it_is_closed(tmp_path: Path) -> None:
    log = DecisionLog(segments(tmp_path, each=100_000))
    async with running(log):
        log.put([decision()] * 3)
        await until(lambda: log.written == 3)
        log.put([decision()])
    await log.close(20.0)
    (path,) = sorted(tmp_path.glob("*"))  # noqa: ASYNC240
    records = [msgspec.json.decode(one, type=Record) for one in lines(path)[1:-1]]
    assert [one.service for one in records] == ["default/cart"] * 4
    assert (log.dropped, log.failures) == (0, 0)


async def test_services_that_nothing_can_be_learned_of_are_not_logged(tmp_path: Path) -> None:
    log = DecisionLog(segments(tmp_path, each=100_000))
    by_formula = decision()
    equal = Proposal(by_formula.acts.shares, "equal")
    log.put([Decision(1e9, 5.0, by_formula.situation, equal, None, by_formula.verdict)])
    await log.close(20.0)
    assert (log.written, log.dropped) == (0, 0)


async def test_a_full_disk_costs_what_is_logged_meanwhile_and_nothing_else() -> None:
    disk = Disk()
    log = DecisionLog(disk, retry_s=0.01)  # type: ignore[arg-type]
    disk.failing = True
    async with running(log):
        log.put([decision()] * 2)
        await until(lambda: log.failures > 0)
        assert log.dropped == 2
        disk.failing = False
        log.put([decision()] * 3)
        await until(lambda: log.written == 3)
    assert log.dropped == 2


async def test_nobody_waits_for_a_disk_that_hangs_and_what_waits_is_bounded() -> None:
    disk = Disk()
    log = DecisionLog(disk, most_endpoints=40)  # type: ignore[arg-type]
    async with running(log):
        disk.gate.clear()
        log.put([decision()])
        await until(lambda: not log._waiting)  # one is with the disk
        log.put([decision()] * 25)  # of four endpoints each
        assert log.dropped == 15
        disk.gate.set()
        await until(lambda: log.written == 11)


async def test_a_service_with_more_endpoints_than_may_wait_is_logged_nevertheless() -> None:
    disk = Disk()
    log = DecisionLog(disk, most_endpoints=2)  # type: ignore[arg-type]
    log.put([decision(), decision()])
    await log.close(20.0)
    assert (disk.written, log.dropped, disk.closed) == (1, 1, 1)


async def test_the_end_does_not_wait_for_a_disk_that_hangs() -> None:
    disk = Disk()
    disk.gate.clear()
    log = DecisionLog(disk)  # type: ignore[arg-type]
    log.put([decision()])
    await log.close(0.05)
    assert not disk.closed
    disk.gate.set()
