"""All fixtures by all players, on all cores, going on where it stopped.

A worker process plays a round of fixtures side by side. Each fixture that was played is a line of a
journal (JSON lines), which belongs to one state of the code and of the releases: the first line has
their digest. A journal with another digest is begun anew, so that no table mixes two.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controlplane.errors import WeirError
from policies.env.stages import Stages
from policies.fingerprint import code
from policies.league.match import Got, Played, play
from policies.league.players import Kind, Player, folder_of, registry
from policies.league.suite import Fixture, Suite
from policies.league.written import write
from policies.processes import processes

Progress = Callable[[int, int], None]
"""Fixtures that were played, and all."""

_RULES = ("suite.py", "match.py", "players.py")
"""Modules of this package that say what is played; the others say how it is shown."""


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tournament(
    suite: Suite,
    players: Sequence[Player],
    journal: Path,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Played]:
    """Every player on every fixture, in the order of the suite. Same arguments: same results.

    Fixtures that the journal has are not played again. A crash or Ctrl-C loses what is being
    played; the same call goes on from there.
    """
    stages = Stages.installed()
    registry(stages, players)  # refused here rather than in a worker
    digest = fingerprint(players)
    done = {one.fixture.key: one for one in _read(journal, digest)}
    rounds = list(suite.rounds())
    wanted = [one.key for fixtures in rounds for one in fixtures]
    left = [todo for fixtures in rounds if (todo := [f for f in fixtures if f.key not in done])]
    known = len(set(wanted) & done.keys())
    if progress is not None:
        progress(known, len(wanted))
    with journal.open("a") as lines:
        for played in rounds_played(left, players, jobs or cores()):
            for one in played:
                done[one.fixture.key] = one
                lines.write(json.dumps(_row(one)) + "\n")
            lines.flush()
            known += len(played)
            if progress is not None:
                progress(known, len(wanted))
    return [done[key] for key in wanted]


def rounds_played(
    rounds: Sequence[Sequence[Fixture]], players: Sequence[Player], jobs: int
) -> Iterator[list[Played]]:
    """Rounds as they end, none of them kept; in this process where one job is enough."""
    if jobs == 1 or len(rounds) < 2:
        stages = Stages.installed()
        for fixtures in rounds:
            yield play(fixtures, players, stages, registry(stages, players))
        return
    try:
        with processes(jobs, _begin, (tuple(players),)) as pool:
            waiting = {pool.submit(_play, tuple(fixtures)) for fixtures in rounds}
            while waiting:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in ended:
                    yield one.result()
    except BrokenProcessPool as error:
        raise WeirError(
            "a process that played was ended from outside (memory?); the same call goes on"
        ) from error


_worker: list[Any] = []
"""Of a worker process: players, stages, policies."""


def _begin(players: tuple[Player, ...]) -> None:
    stages = Stages.installed()
    _worker[:] = [players, stages, registry(stages, players)]


def _play(fixtures: tuple[Fixture, ...]) -> list[Played]:
    players, stages, known = _worker
    return play(fixtures, players, stages, known)


def fingerprint(players: Sequence[Player]) -> str:
    """Of everything that results depend on: code that plays, players, and their releases."""
    whole = hashlib.sha256(code(*(Path(__file__).with_name(name) for name in _RULES)).encode())
    for player in players:
        whole.update(f"{player.name} {player.policy} {player.algorithm}".encode())
        if player.kind is Kind.RELEASED:
            for name in ("model.onnx", "manifest.json"):
                whole.update((folder_of(player) / name).read_bytes())
    return whole.hexdigest()[:16]


def _row(played: Played) -> dict[str, Any]:
    return {
        "fixture": asdict(played.fixture),
        "proxies": played.proxies,
        "peak_load": played.peak_load,
        "got": {
            name: [one.mean_s, one.p99_s, one.error_ratio, one.requests]
            for name, one in played.got.items()
        },
    }


def _read(journal: Path, digest: str) -> list[Played]:
    """What was played before by the same code; the journal is then ready for more lines.

    A last line that was not written to its end is dropped.
    """
    text = journal.read_text() if journal.exists() else ""
    lines = text.splitlines()
    if lines and _digest(journal, lines[0]) == digest:
        whole = lines if text.endswith("\n") else lines[:-1]
    else:
        whole = [json.dumps({"digest": digest})]
    try:
        played = [_played(json.loads(row)) for row in whole[1:]]
    except (ValueError, KeyError, TypeError) as error:
        raise WeirError(f"{journal} has a line that is no case: {error!r}; remove it") from error
    now = "\n".join(whole) + "\n"
    if now != text:  # at once: it may be hours of playing
        write(journal, now)
    return played


def _digest(journal: Path, head: str) -> str:
    """That of a journal; what is none is not written over."""
    try:
        return str(json.loads(head)["digest"])
    except (ValueError, KeyError, TypeError):
        raise WeirError(
            f"{journal} is no journal of a league: remove it, or name another"
        ) from None


def _played(row: dict[str, Any]) -> Played:
    got = {name: Got(*values) for name, values in row["got"].items()}
    return Played(Fixture(**row["fixture"]), row["proxies"], row["peak_load"], got)
