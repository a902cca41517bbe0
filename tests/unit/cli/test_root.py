from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from controlplane.cli.root import VERBS, build


def weir(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_verb_and_those_of_other_distributions() -> None:
    shown = weir("--help").stdout
    for verb in [*VERBS, "train", "evaluate", "league"]:
        assert f"  {verb} " in shown


def test_every_verb_of_the_table_can_be_asked_for_help() -> None:
    for verb in VERBS:
        done = CliRunner().invoke(build(), [verb, "--help"])
        assert done.exit_code == 0, f"{verb}: {done.output}"


def test_an_unknown_verb_is_a_usage_error() -> None:
    done = weir("balance")
    assert done.returncode == 2
    assert "balance" in done.stderr


LONELY = """
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: web}
spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}
"""
"""A Backend that nothing leads to: there is something to find in it."""


def test_what_is_looked_at_speaks_json_and_yaml(tmp_path: Path) -> None:
    """YAML has the same document, though it knows no words of an enumeration (`severity`)."""
    (tmp_path / "web.yaml").write_text(LONELY)
    for verb in (["version"], ["analyze", "-f", str(tmp_path)], ["validate", "-f", str(tmp_path)]):
        told = [
            CliRunner().invoke(build(), [*verb, "--output", form]).stdout
            for form in ("json", "yaml")
        ]
        document = json.loads(told[0])
        assert document
        assert yaml.safe_load(told[1]) == document


def test_an_error_of_ours_is_one_line_with_advice() -> None:
    done = weir("weights", "explain", "cart", "--admin-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("weir: no answer from 127.0.0.1:1")
    assert "Traceback" not in done.stderr


def plain(*arguments: str) -> str:
    """The one line that an error of ours is."""
    done = weir(*arguments)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_folder_that_is_not_there_is_not_made_by_serving_it(tmp_path: Path) -> None:
    missing = tmp_path / "typo"
    assert f"folder {missing}: No such file" in plain("serve", "--config", str(missing))
    assert not missing.exists()
    file = tmp_path / "one.yaml"
    file.write_text("")
    assert f"folder {file}: Not a directory" in plain("serve", "--config", str(file))


def test_a_setting_that_is_missing_is_named_as_the_option_that_it_is() -> None:
    assert "--config" in plain("serve")


def test_a_start_is_ended_by_a_handler_of_ours(tmp_path: Path) -> None:
    """As the first process of a container it would go on otherwise, until it is killed."""
    read = tmp_path / "settings"
    os.mkfifo(read)
    command = [sys.executable, "-m", "controlplane.cli", "serve"]
    with subprocess.Popen(command, env={**os.environ, "WEIR_SETTINGS": str(read)}) as starting:
        opened = _when_it_is_read(read)
        starting.terminate()
        assert starting.wait(60) == 128 + signal.SIGTERM
        os.close(opened)


def _when_it_is_read(pipe: Path) -> int:
    """A descriptor to write to it, once somebody waits for that."""
    for _ in range(3000):
        with contextlib.suppress(OSError):  # ENXIO: not yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.02)
    raise AssertionError("nobody reads it")


def test_the_switch_of_a_state_folder_that_is_not_there_is_not_set(tmp_path: Path) -> None:
    missing = tmp_path / "typo"
    assert f"no state folder {missing}" in plain("freeze", "--state-dir", str(missing))
    assert not missing.exists()


def test_a_freeze_says_how_to_let_go_and_resume_says_what_is_still_frozen(tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path))
    assert "`weir resume default/web`" in weir("freeze", "web", *state).stdout
    assert "frozen are: default/web" in plain("resume", *state)
    weir("freeze", *state)
    assert "still frozen: default/web" in weir("resume", *state).stdout
    assert weir("resume", "web", *state).stdout == "default/web: resumed\n"
    assert "nothing is" in plain("resume", *state)


def test_a_switch_that_cannot_be_written_down_is_not_said_to_be_set(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    said = plain("freeze", "--state-dir", str(tmp_path))
    assert "NOT frozen" in said
    assert "in this process" not in said


def test_somebody_without_a_name_may_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in our image, whose /etc/passwd does not know its user."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    done = CliRunner().invoke(build(), ["freeze", "--state-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"by user {os.getuid()}" in (tmp_path / "frozen").read_text()


def test_when_nothing_answers_the_switch_tells_of_the_state_folder() -> None:
    assert "--state-dir" in plain("freeze", "--admin-address", "127.0.0.1:1")


def test_what_does_not_speak_http_at_the_admin_address_is_told_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say_something_else, args=(server,))
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert f"no answer from {address}" in plain("weights", "list", "--admin-address", address)
        thread.join()


def _say_something_else(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"\x00\x00\x12\x04\x00 no status line\r\n\r\n")


def test_a_folder_without_documents_is_said_to_be_one(tmp_path: Path) -> None:
    assert f"no documents in {tmp_path}" in weir("validate", "-f", str(tmp_path)).stdout


def test_a_recipe_and_a_family_that_are_not_there_are_told_with_those_that_are() -> None:
    assert "one of ours (a2c, " in plain("train", "nosuch", "--to", "nowhere")
    assert "there are homogeneous" in plain("evaluate", "--family", "nosuch")


def test_the_version_is_told_and_an_empty_or_a_wrong_folder_is_no_success(tmp_path: Path) -> None:
    assert weir("--version").stdout.startswith("weir ")
    assert weir("validate", "-f", str(tmp_path)).returncode == 1
    assert "Missing option" in weir("validate").stderr
    (tmp_path / "web.yaml").write_text("")
    wrong = weir("freeze", "web", "--state-dir", str(tmp_path))
    assert wrong.returncode == 1
    assert "folder of documents" in wrong.stderr
    assert not (tmp_path / "frozen-services").exists()
