from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controlplane.errors import StoreError
from controlplane.model import ServiceName
from controlplane.store import SqlStateStore
from tests.unit.store.states import assert_same, state

SHOP = ServiceName("default/shop")
Opener = Callable[[Path], SqlStateStore]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    stores: list[SqlStateStore] = []

    def open_in(folder: Path) -> SqlStateStore:
        stores.append(SqlStateStore.in_folder(folder))
        return stores[-1]

    yield open_in
    for store in stores:
        await store.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; mounting one takes root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root; the test with a limit on file size did run")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def moved_aside(folder: Path) -> bytes:
    (aside,) = folder.glob("state.db.corrupt-*[0-9]")
    return aside.read_bytes()


async def test_what_is_saved_is_loaded_to_the_bit(tmp_path: Path, opened: Opener) -> None:
    await opened(tmp_path).save([state(), state("default/cart", first=17_771)])
    again = await opened(tmp_path).load()
    assert set(again) == {SHOP, "default/cart"}
    assert_same(again[SHOP], state())
    assert_same(again[ServiceName("default/cart")], state("default/cart", first=17_771))


async def test_the_newest_state_of_a_service_replaces_the_older(
    tmp_path: Path, opened: Opener
) -> None:
    store = opened(tmp_path)
    await store.save([state(first=10_000), state("default/cart")])
    await store.save([state(first=20_000)])
    assert (await store.load())[SHOP].weights.by_group == (20_000, 10_000)
    assert len(await store.load()) == 2


async def test_a_folder_that_does_not_exist_yet_is_made_for_us_alone(
    tmp_path: Path, opened: Opener
) -> None:
    assert await opened(tmp_path / "a" / ".weir").load() == {}
    assert (tmp_path / "a" / ".weir").stat().st_mode & 0o077 == 0


async def test_a_batch_is_stored_together_or_not_at_all(tmp_path: Path, opened: Opener) -> None:
    store = opened(tmp_path)
    await store.save([state(first=10_000)])
    twice = [state(first=20_000), state("default/cart"), state("default/cart")]
    with pytest.raises(StoreError, match="UNIQUE"):
        await store.save(twice)
    assert (await store.load())[SHOP].weights.by_group == (10_000, 20_000)


async def test_a_database_locked_by_another_process_is_an_error_and_then_works_again(
    tmp_path: Path, opened: Opener
) -> None:
    store = opened(tmp_path)
    await store.save([state(first=10_000)])
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"state\.db: database is locked"):
        await store.save([state(first=20_000)])
    other.execute("ROLLBACK")
    other.close()
    await store.save([state(first=20_000)])
    assert (await store.load())[SHOP].weights.by_group == (20_000, 10_000)


async def test_a_save_that_its_caller_gives_up_leaves_the_store_usable(
    tmp_path: Path, opened: Opener
) -> None:
    store = opened(tmp_path)
    await store.save([state(first=10_000)])
    for wait_s in (0.0, 0.0005, 0.002, 0.01, 0.05):
        other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(wait_s):
                await store.save([state(first=20_000)])
        other.execute("ROLLBACK")
        other.close()
        await store.save([state(first=11_000)])
        assert (await store.load())[SHOP].weights.by_group == (11_000, 19_000)


@pytest.mark.parametrize("damage", ["noise", "cut", "header"])
async def test_a_corrupt_file_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path, opened: Opener, damage: str
) -> None:
    first = opened(tmp_path)
    await first.save([state(f"default/s{i}") for i in range(200)])
    await first.close()
    path = tmp_path / "state.db"
    content = path.read_bytes()
    broken = {
        "noise": os.urandom(len(content)),
        "cut": content[: len(content) // 3],
        "header": content[:100] + os.urandom(4000) + content[4100:],
    }[damage]
    path.write_bytes(broken)

    store = opened(tmp_path)
    with pytest.raises(StoreError, match=r"it was moved to state\.db\.corrupt-\d+"):
        await store.load()
    assert moved_aside(tmp_path)[:100] == broken[:100]
    assert await store.load() == {}
    await store.save([state()])
    assert_same((await store.load())[SHOP], state())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("names", ["fast"]),
        ("index", [0, 0, 7]),
        ("index", [0, 0, True]),
        ("endpoints", ["10.0.0.1:80"] * 3),
        ("shares", [0.5, 0.1]),
        ("shares", [1.5, -0.5]),
        ("shares", ["0.5", "0.5"]),
        ("weights", [30_000, 0]),
        ("weights", [2**32, 1]),
        ("weights", [30_000]),
        ("weights", None),
    ],
)
async def test_a_document_that_makes_no_sense_is_left_out_and_the_others_are_loaded(
    tmp_path: Path, opened: Opener, field: str, value: object
) -> None:
    store = opened(tmp_path)
    await store.save([state(), state("default/cart")])
    with sqlite3.connect(tmp_path / "state.db") as other:
        query = "SELECT document FROM last_good WHERE service = ?"
        document = json.loads(other.execute(query, (SHOP,)).fetchone()[0])
        document[field] = value
        update = "UPDATE last_good SET document = ? WHERE service = ?"
        other.execute(update, (json.dumps(document), SHOP))
    other.close()
    assert list(await store.load()) == ["default/cart"]


@pytest.mark.parametrize("text", ["", "null", "{", "[" * 100_000, '{"version": 1e999}'])
async def test_a_document_that_is_no_document_is_left_out(
    tmp_path: Path, opened: Opener, text: str
) -> None:
    store = opened(tmp_path)
    await store.save([state(), state("default/cart")])
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("UPDATE last_good SET document = ? WHERE service = ?", (text, SHOP))
    other.close()
    assert list(await store.load()) == ["default/cart"]


async def test_a_folder_that_cannot_be_written_is_an_error_in_words(
    tmp_path: Path, opened: Opener
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Not a directory"):
        await opened(tmp_path / "file" / "state").load()


async def test_a_full_disk_is_an_error_and_what_was_saved_before_stays(
    tiny_disk: Path, opened: Opener
) -> None:
    store = opened(tiny_disk)
    await store.save([state(first=10_000)])
    many = [state(f"default/{i:0400d}") for i in range(2000)]
    with pytest.raises(StoreError, match=r"disk is full|disk I/O error"):
        await store.save(many)
    assert (await store.load())[SHOP].weights.by_group == (10_000, 20_000)
    await store.save([state(first=20_000)])
    assert (await store.load())[SHOP].weights.by_group == (20_000, 10_000)


async def test_a_read_only_file_system_is_an_error_and_what_was_saved_can_be_read(
    tiny_disk: Path, opened: Opener
) -> None:
    first = opened(tiny_disk)
    await first.save([state()])
    await first.close()
    remount(tiny_disk, "ro")
    store = opened(tiny_disk)
    with pytest.raises(StoreError, match=r"state\.db: "):
        await store.save([state(first=20_000)])
    remount(tiny_disk, "rw")
    assert_same((await store.load())[SHOP], state())


def test_a_limit_on_the_size_of_files_is_an_error_and_the_process_lives(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from controlplane.errors import StoreError
from controlplane.store import SqlStateStore
from tests.unit.store.states import state

async def main() -> None:
    store = SqlStateStore.in_folder(Path(sys.argv[1]))
    await store.save([state(first=10_000)])
    try:
        await store.save([state(f"default/{i:0400d}") for i in range(2000)])
    except StoreError as error:
        print("refused:", error)
    print("kept:", len(await store.load()))
    await store.close()

asyncio.run(main())
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )
    assert "refused:" in done.stdout, done.stderr
    assert "kept: 1" in done.stdout, done.stderr


def test_what_was_saved_survives_kill_9(tmp_path: Path) -> None:
    script = """
import asyncio, os, signal, sys
from pathlib import Path
from controlplane.store import SqlStateStore
from tests.unit.store.states import state

async def main() -> None:
    store = SqlStateStore.in_folder(Path(sys.argv[1]))
    for i in range(1, 30):
        await store.save([state(first=i)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9

    async def load() -> tuple[int, ...]:
        store = SqlStateStore.in_folder(tmp_path)
        try:
            return (await store.load())[SHOP].weights.by_group
        finally:
            await store.close()

    assert asyncio.run(load()) == (29, 29_971)
