from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from controlplane.errors import ConfigurationError
from controlplane.resources import Loaded, validate_folder, watch_folder
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICY, joined

DEADLINE_S = 20.0


class Watched:
    """Looks until something holds."""

    def __init__(self, stream: AsyncIterator[Loaded]) -> None:
        self.stream = stream
        self.seen: list[Loaded] = []

    async def until(self, holds: Callable[[Loaded], bool]) -> Loaded:
        async with asyncio.timeout(DEADLINE_S):
            while not (self.seen and holds(self.seen[-1])):
                self.seen.append(await anext(self.stream))
        return self.seen[-1]


@asynccontextmanager
async def watching(folder: Path, poll_s: float = 60.0) -> AsyncIterator[Watched]:
    async with aclosing(watch_folder(folder, debounce_s=0.02, poll_s=poll_s)) as stream:
        watched = Watched(stream)
        await watched.until(lambda loaded: True)
        yield watched


def backends(loaded: Loaded) -> list[str]:
    return list(loaded.declared.backends)


def named(name: str) -> str:
    return BACKEND.replace("{name: web}", f"{{name: {name}}}")


async def test_the_first_look_is_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(named("a"))
    (tmp_path / "c.yml").write_text(named("b"))
    (tmp_path / ".hidden.yaml").write_text(named("c"))
    (tmp_path / "notes.txt").write_text("no")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.yaml").write_text(named("d"))
    async with watching(tmp_path) as watched:
        assert backends(watched.seen[0]) == ["default/a", "default/b"]


async def test_an_atomic_rename_a_plain_write_and_a_removal_are_seen(tmp_path: Path) -> None:
    async with watching(tmp_path, poll_s=1.0) as watched:
        (tmp_path / ".b.yaml.tmp").write_text(named("a"))
        (tmp_path / ".b.yaml.tmp").rename(tmp_path / "b.yaml")
        await watched.until(lambda loaded: backends(loaded) == ["default/a"])
        (tmp_path / "b.yaml").write_text(joined(named("a"), named("b")))
        await watched.until(lambda loaded: backends(loaded) == ["default/a", "default/b"])
        (tmp_path / "b.yaml").unlink()
        await watched.until(lambda loaded: backends(loaded) == [])


async def test_the_swapped_link_of_a_mounted_config_map_is_seen(tmp_path: Path) -> None:
    def mount(version: str, text: str) -> None:
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "b.yaml").write_text(text)
        os.symlink(f"..{version}", tmp_path / "..data_tmp")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")

    mount("1", named("a"))
    os.symlink("..data/b.yaml", tmp_path / "b.yaml")
    async with watching(tmp_path, poll_s=1.0) as watched:
        assert backends(watched.seen[0]) == ["default/a"]
        mount("2", named("b"))
        await watched.until(lambda loaded: backends(loaded) == ["default/b"])


async def test_a_broken_write_keeps_the_last_valid_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(BACKEND)
    async with watching(tmp_path, poll_s=1.0) as watched:
        (tmp_path / "b.yaml").write_text(BACKEND[:60])
        broken = await watched.until(lambda loaded: bool(loaded.problems))
        assert backends(broken) == ["default/web"]
        (tmp_path / "b.yaml").write_text(joined(BACKEND, GATEWAY))
        mended = await watched.until(lambda loaded: not loaded.problems)
        assert list(mended.declared.gateways) == ["default/edge"]


async def test_a_folder_that_vanishes_keeps_the_last_valid_and_is_taken_up_again(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "b.yaml").write_text(BACKEND)
    async with watching(folder, poll_s=0.2) as watched:
        folder.rename(tmp_path / "away")
        gone = await watched.until(lambda loaded: bool(loaded.problems))
        assert backends(gone) == ["default/web"]
        folder.mkdir()
        (folder / "b.yaml").write_text(joined(BACKEND, POLICY))
        back = await watched.until(lambda loaded: not loaded.problems)
        assert list(back.declared.policies) == ["default/web"]


async def test_what_changes_nothing_in_force_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(BACKEND)
    async with watching(tmp_path, poll_s=0.05) as watched:
        (tmp_path / "notes.txt").write_text("no")
        (tmp_path / ".weir").mkdir()
        (tmp_path / ".weir" / "state").write_text("x")
        await asyncio.sleep(0.4)
        (tmp_path / "g.yaml").write_text(GATEWAY)
        await watched.until(lambda loaded: bool(loaded.declared.gateways))
        assert len(watched.seen) == 2


async def test_there_must_be_a_folder_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name a folder"):
        await anext(aiter(watch_folder(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="name a folder"):
        validate_folder(tmp_path / "none")
