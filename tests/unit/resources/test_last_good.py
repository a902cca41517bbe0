"""Broken documents in the folder that Weir reads: each is refused with file, line, field and
advice, and what was in force before stays so, to the byte of what Envoys are sent.

Some are picked by hand (`picked.py`), the others are made from valid documents (`mutations.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.resources import Loaded, load, watch_folder
from controlplane.resources.declared import KINDS
from controlplane.resources.folder import read_folder
from controlplane.resources.problems import Problem
from controlplane.translate import Translator
from tests.unit.resources.documents import BACKEND, GATEWAY, POLICIES, POLICY, ROUTE
from tests.unit.resources.mutations import Broken, Site, broken, sites, written
from tests.unit.resources.picked import FILES
from tests.unit.resources.test_broken_documents import BROKEN
from tests.unit.translate.scenes import all_services, even

DEADLINE_S = 20.0
SITES = {one.name: one for one in sites()}
MADE = broken(list(SITES.values()))
GOOD = {
    "gateway.yaml": GATEWAY,
    "route.yaml": ROUTE,
    "backend.yaml": BACKEND,
    "policy.yaml": POLICY,
}


def _file_of(text: str) -> str:
    """Which of the good files a broken document is to stand in for."""
    start = text.splitlines()[min(1, text.count("\n") - 1)][:9]
    return next((file for file, good in GOOD.items() if f"\n{start}" in good), "more.yaml")


PICKED = [
    *(Broken("good", file, name, content, line, field, words)
      for name, file, content, line, field, words in FILES),
    *(Broken("good", _file_of(text), f"number {at}", text, line, field, words)
      for at, (text, line, field, words, _) in enumerate(BROKEN)),
]  # fmt: skip


@dataclass
class Folder:
    """A folder of documents, and what came of the last look at it."""

    path: Path
    loaded: Loaded
    translator: Translator

    @classmethod
    def of(cls, path: Path, texts: Mapping[str, str]) -> Folder:
        """With these files."""
        for file, text in texts.items():
            (path / file).write_text(text)
        made = cls(path, Loaded(), Translator())
        made.look()
        return made

    def look(self) -> list[Problem]:
        """What is wrong now and was not before."""
        before = self.loaded
        self.loaded = load(before, read_folder(self.path), POLICIES)
        return [one for one in self.loaded.problems if one not in before.problems]

    def sent(self) -> dict[str, Mapping[str, Mapping[str, bytes]]]:
        """What Envoys would be sent, by fleet."""
        declared = self.loaded.declared
        services = all_services(declared)
        made = self.translator.snapshots(declared, services, even(services))
        return {one.fleet: one.resources for one in made}

    def faults(self, one: Broken) -> list[str]:
        """What is not as it should be when a file is broken so; it is mended afterwards."""
        file = self.path / one.file
        before, sent = file.read_bytes() if file.exists() else None, self.sent()
        file.write_bytes(one.content)
        problems = self.look()
        fitting = [each for each in problems if (each.file, each.line) == (one.file, one.line)]
        wrong = [f"{one}: no advice: {each}" for each in problems if not each.advice]
        if not any(each.field.startswith(one.field) and one.words in str(each) for each in fitting):
            wrong.append(f"{one} is not told, but: {[str(each) for each in problems]}")
        if self.sent() != sent:
            wrong.append(f"{one} changes what is in force")
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        self.look()
        if self.sent() != sent:
            wrong.append(f"{one} is not mended")
        return wrong


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_what_was_made_broken_is_told_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    texts = {file: written(document) for file, document in site.documents.items()}
    folder = Folder.of(tmp_path, texts)
    wrong = [fault for one in MADE if one.site == site.name for fault in folder.faults(one)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("one", PICKED, ids=str)
def test_what_was_picked_is_told_and_changes_nothing(one: Broken, tmp_path: Path) -> None:
    wrong = Folder.of(tmp_path, GOOD).faults(one)
    assert not wrong, "\n".join(wrong)


def test_there_are_more_than_two_hundred_of_each_sort_and_all_kinds_are_among_them() -> None:
    kinds = Counter(SITES[one.site].documents[one.file]["kind"] for one in MADE)
    assert kinds.keys() == KINDS.keys()
    assert min(kinds.values()) >= 5, kinds
    assert (len(MADE) >= 200, len(PICKED) >= 100) == (True, True), (len(MADE), len(PICKED))


async def test_who_follows_the_folder_is_told_of_each_and_keeps_what_is_good(
    tmp_path: Path,
) -> None:
    folder = Folder.of(tmp_path, GOOD)
    sent = folder.sent()
    async with aclosing(watch_folder(tmp_path, POLICIES, debounce_s=0.01, poll_s=1.0)) as looks:
        folder.loaded = await anext(looks)
        for one in PICKED[::3]:
            (tmp_path / one.file).write_bytes(one.content)
            async with asyncio.timeout(DEADLINE_S):
                while not any(each.file == one.file for each in folder.loaded.problems):
                    folder.loaded = await anext(looks)
            assert folder.sent() == sent, str(one)
            (tmp_path / one.file).write_text(GOOD.get(one.file, ""))
            async with asyncio.timeout(DEADLINE_S):
                while folder.loaded.problems:
                    folder.loaded = await anext(looks)
            assert folder.sent() == sent, str(one)
