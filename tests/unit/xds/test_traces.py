"""Replays tests/testdata/xds. To accept what it does now: `REWRITE=1 pytest`, then read the diff.

A block of a trace is what happens, a line of dashes, and what the server does about it. Between
square brackets stand the version and the nonce, named in the order in which they appear.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from controlplane.xds.steps import Mode
from tests.unit.xds.session import Session

TRACES = sorted((Path(__file__).parents[2] / "testdata" / "xds").glob("*.txt"))


def test_there_are_traces() -> None:
    assert len(TRACES) >= 5


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path) -> None:
    actual = replay(path.read_text())
    if os.environ.get("REWRITE"):
        path.write_text(actual)
    assert actual == path.read_text()


def replay(trace: str) -> str:
    head, *blocks = trace.strip("\n").split("\n\n")
    *_, first = head.splitlines()
    word, mode, *types = first.split(maxsplit=2)
    assert word == "begin"
    session = Session(Mode(mode), **parse_types(" ".join(types)))
    session.label = True
    out = [head]
    for block in blocks:
        asked = block.split("\n----")[0]
        out.append("\n".join([asked, "----", *play(session, asked.splitlines()[-1])]))
    return "\n\n".join(out) + "\n"


def parse_types(text: str) -> dict[str, dict[str, str]]:
    """`cds a=1 b=1 | eds a=1`."""
    types = {}
    for part in filter(None, (part.strip() for part in text.split("|"))):
        name, *pairs = part.split()
        types[name] = dict(pair.split("=") for pair in pairs)
    return types


def play(session: Session, line: str) -> list[str]:
    verb, *words = line.split()
    if verb == "set":
        return session.set(**parse_types(" ".join(words)))
    if verb == "reconnect":
        session.connect()
        return []
    name, *words = words
    options = dict(word.split("=") for word in words if "=" in word)
    names = [word for word in words if "=" not in word and not word.startswith("-")]
    drop = [word[1:] for word in words if word.startswith("-")]
    match verb:
        case "ask":
            nonce = session.nonces[options["nonce"]] if "nonce" in options else ""
            held = filter(None, options.get("has", "").split(","))
            initial = {one: session.resource_version(name, one) for one in held}
            return session.ask(name, *names, drop=drop, nonce=nonce, initial=initial)
        case "ack":
            return session.ack(name, *names, drop=drop)
        case "nack":
            return session.nack(name, *names, error=options["error"])
        case _:
            raise ValueError(f"unknown verb: {line}")
