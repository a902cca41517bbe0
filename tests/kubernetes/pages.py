"""The commands that a page of docs/ tells people to type, and a shell that runs them.

In blocks of `console` each line that begins with `$ ` is a command, with the lines after it as long
as they end with a backslash, or until the word of a here-document. Other lines are what is printed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND_S = 180.0
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """What is typed, and under which heading."""

    heading: str
    text: str


def commands(page: Path) -> list[Command]:
    """All of a page, from top to bottom."""
    found = []
    text = page.read_text()
    for block in _BLOCK.finditer(text):
        headings = re.findall(r"^#+ (.*)$", text[: block.start()], re.MULTILINE)
        found += [Command(headings[-1], one) for one in _typed(block[1].splitlines())]
    return found


def _typed(lines: list[str]) -> list[str]:
    found: list[str] = []
    goes_on, until = False, ""
    for line in lines:
        if until:
            found[-1] += f"\n{line}"
            until = "" if line == until else until
        elif goes_on:
            found[-1] += f"\n{line}"
            goes_on = line.endswith("\\")
        elif line.startswith("$ "):
            found.append(line[2:])
            goes_on = line.endswith("\\")
            if here := re.search(r"<<-?'?(\w+)'?$", line):
                until = here[1]
    assert not until, f"a here-document without an end: {found[-1]}"
    return found


@dataclass(frozen=True)
class Shell:
    """Runs what is typed in the root of the repository."""

    environment: Mapping[str, str]
    instead: Mapping[str, str]
    """What stands in the page, and what is meant here."""

    def run(self, typed: str) -> str:
        """What it prints; a failure of it is one of the test."""
        for word, meant in self.instead.items():
            typed = typed.replace(word, meant)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", typed],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert done.returncode == 0, f"$ {typed}\n{done.stdout}{done.stderr}"
        return done.stdout
