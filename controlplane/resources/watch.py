"""The folder of documents, followed: one `Loaded` for each change.

The folder is watched, not its files, so that atomic renames and the swapped links of a mounted
ConfigMap are seen. A slow look of our own stands behind the kernel's notices, which network file
systems do not send. While the folder cannot be read the last `Loaded` stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncGenerator, Collection
from pathlib import Path

from watchfiles import Change, awatch

from controlplane.resources.folder import Fingerprint, fingerprint, read_folder, require_folder
from controlplane.resources.load import Loaded, load
from controlplane.resources.problems import Problem

DEBOUNCE_S = 0.1
POLL_S = 5.0
FIRST_POLL_S = 0.5


async def watch_folder(
    folder: Path,
    policies: Collection[str] | None = None,
    *,
    debounce_s: float = DEBOUNCE_S,
    poll_s: float = POLL_S,
) -> AsyncGenerator[Loaded]:
    """First what is there, then one `Loaded` each time something else is in force or wrong.

    Raises `ConfigurationError` when there is no folder to begin with.
    """
    require_folder(folder)
    changed = asyncio.Event()
    watching = asyncio.create_task(_notice(folder, changed, debounce_s, poll_s), name="folder")
    try:
        seen, loaded = await asyncio.to_thread(_look, folder, None, Loaded(), policies)
        yield loaded
        wait_s = min(poll_s, FIRST_POLL_S)  # what changed before the kernel's watch stood
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()
            changed.clear()
            wait_s = poll_s
            before = loaded
            seen, loaded = await asyncio.to_thread(_look, folder, seen, before, policies)
            if loaded is not before:
                yield loaded
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _look(
    folder: Path, seen: Fingerprint | None, before: Loaded, policies: Collection[str] | None
) -> tuple[Fingerprint | None, Loaded]:
    """Load the folder if it differs from what was seen; the same `Loaded` where nothing changed."""
    try:
        now = fingerprint(folder)
        if now == seen:
            return seen, before
        return now, load(before, read_folder(folder), policies)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        problem = Problem(str(folder), 0, "", message, "the last valid documents stay in force")
        if problem in before.problems:
            return None, before
        return None, dataclasses.replace(before, problems=(*before.problems, problem))


async def _notice(folder: Path, changed: asyncio.Event, debounce_s: float, poll_s: float) -> None:
    """Say so when the kernel does. Without a folder there is nothing to watch; the poll goes on."""
    while True:
        watched = _inode(folder)
        if watched is not None:
            with contextlib.suppress(OSError):  # gone meanwhile, or no watches left
                async for _ in awatch(
                    folder,
                    watch_filter=_concerns_us,
                    debounce=max(1, int(debounce_s * 1000)),
                    step=max(1, int(debounce_s * 500)),
                    rust_timeout=max(1, int(poll_s * 1000)),
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    changed.set()
                    if _inode(folder) != watched:
                        break  # another folder under the same name: watch that one
        changed.set()
        await asyncio.sleep(debounce_s if _inode(folder) not in (None, watched) else poll_s)


def _inode(folder: Path) -> int | None:
    try:
        return os.stat(folder).st_ino
    except OSError:
        return None


def _concerns_us(change: Change, path: str) -> bool:
    """Not our own state (.weir), editors' dot-files; `..data` is the link of a ConfigMap."""
    name = os.path.basename(path)
    return not name.startswith(".") or name.startswith("..")
