"""Completion in the shells themselves: each is typed into at a terminal, and says what it has.

zsh and fish are asked where they are installed; bash is everywhere.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cli.completion import SCRIPTS, Shell, offered
from controlplane.cli.root import VERBS
from tests.kubernetes import replicas

DEADLINE_S = 30.0
PAGES = {
    "/v1/services": [{"service": "shop/cart:80"}, {"service": "shop/cart:8080"}],
    "/v1/proxies": [{"node": "edge-1", "fleet": "shop/edge"}],
    "/v1/status": [{"kind": "Gateway", "name": "shop/edge", "conditions": []}],
}


class Terminal:
    """A shell at a terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._said = ""

    def type(self, keys: str) -> None:
        self._said = ""
        os.write(self._ours, keys.encode())

    def until(self, words: str) -> str:
        """What it shows, as soon as these words are in it."""
        ends_s = time.monotonic() + DEADLINE_S
        while words not in self._said:
            left_s = ends_s - time.monotonic()
            assert left_s > 0, f"{words!r} is not in {self._said!r}"
            if select.select([self._ours], [], [], left_s)[0]:
                self._said += os.read(self._ours, 65_536).decode(errors="replace")
        return self._said

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Programs on the PATH, and a control plane that has names."""
    folder = replicas.programs(tmp_path_factory.mktemp("shells"))
    with replicas.admin(PAGES) as admin:
        yield {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "WEIR_ADMIN_ADDRESS": f"127.0.0.1:{admin.port}",
        }


def started(shell: Shell, environment: dict[str, str], folder: Path) -> Terminal:
    """A shell that has read what `weir completion` prints, and shows `ready`."""
    script = folder / "completion"
    script.write_text(SCRIPTS[shell])
    match shell:
        case Shell.BASH:
            terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], environment)
            terminal.type(f"bind 'set bell-style none'; source {script}; echo rea''dy\n")
        case Shell.ZSH:
            terminal = Terminal(["zsh", "-f", "-i"], environment)
            begun = "autoload -Uz compinit; compinit -u -D"
            terminal.type(f"{begun}; source {script}; unsetopt zle_bracketed_paste; echo rea''dy\n")
        case _:
            terminal = Terminal(["fish", "--no-config", "-i"], environment)
            terminal.type(f"source {script}; echo rea''dy\n")
    terminal.until("ready")
    return terminal


@pytest.mark.parametrize("shell", [Shell.BASH, Shell.ZSH, Shell.FISH])
def test_a_shell_completes_verbs_options_and_names(
    shell: Shell, environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    terminal = started(shell, environment, tmp_path)
    try:
        for typed, completed in (
            ("weir proxy-st", "weir proxy-status"),
            ("weir freeze --reas", "weir freeze --reason"),
            ("weir freeze shop/cart:808", "weir freeze shop/cart:8080"),
        ):
            terminal.type(f"{typed}\t\x01echo \n")  # Control-A: to the beginning of the line
            terminal.until(f"{completed}\r\n")
    finally:
        terminal.close()


def test_verbs_are_offered_with_what_they_do_and_without_importing_them() -> None:
    lines = dict(one.partition("\t")[::2] for one in offered([""], plugin=False)[:-1])
    assert set(VERBS) <= set(lines)
    assert lines["status"] == VERBS["status"][1]
    assert offered(["analyze", "-f", "exam"], plugin=False) == [":0"]
    assert offered(["completion", "z"], plugin=False) == ["zsh", ":4"]


def test_nobody_at_the_address_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_ADMIN_ADDRESS", "127.0.0.1:1")
    assert offered(["weights", "explain", ""], plugin=False) == [":0"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert offered(["status", "--context", ""], plugin=True) == [":0"]
    assert offered(["freeze", ""], plugin=True) == [":0"]


def test_the_scripts_are_programs_of_their_shells() -> None:
    for shell in (Shell.BASH, Shell.ZSH, Shell.FISH):
        if shutil.which(shell) is not None:
            subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True, timeout=30)
    assert "Register-ArgumentCompleter" in SCRIPTS[Shell.POWERSHELL]
