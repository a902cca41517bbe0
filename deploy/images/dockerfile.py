"""As much of a Dockerfile as ours use: stages of instructions, arguments put in.

https://docs.docker.com/reference/dockerfile/ is the reference. What is not used here is refused, so
that a rehearsal never skips a step unseen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN",
    "USER", "WORKDIR",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line, joined."""

    word: str
    text: str


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, word: str) -> str:
        """The text of the last such instruction; empty without any."""
        found = [one.text for one in self.instructions if one.word == word]
        return found[-1] if found else ""

    def words_of(self, word: str) -> list[str]:
        """The last such instruction in its JSON form."""
        text = self.last(word)
        listed: list[str] = json.loads(text[text.index("[") :]) if "[" in text else []
        return listed

    @property
    def environment(self) -> dict[str, str]:
        """All of ENV."""
        texts = [one.text for one in self.instructions if one.word == "ENV"]
        return dict(pair.split("=", 1) for text in texts for pair in text.split())


def stages(file: Path) -> list[Stage]:
    """The stages in order. Raises `ValueError` at an instruction that is not known here."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for one in _instructions(file.read_text()):
        text = re.sub(r"\$\{(\w+)\}", lambda name: arguments.get(name[1], name[0]), one.text)
        if one.word == "ARG":
            name, _, value = text.partition("=")
            arguments[name] = value
        elif one.word == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(base.strip(), name.strip() or str(len(found))))
        else:
            found[-1].instructions.append(Instruction(one.word, text))
    return found


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    made = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.partition(" ")
        if word not in KNOWN:
            raise ValueError(f"instruction {word!r} is not known to the rehearsal")
        made.append(Instruction(word, rest.strip()))
    return made
