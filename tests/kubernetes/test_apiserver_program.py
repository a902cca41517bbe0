"""The test server as a program, for a person with kubectl."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx

WAIT_S = 30.0


def test_the_program_says_where_it_serves_and_stops_when_told(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "tests.kubernetes.apiserver", "--kubeconfig", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            url = program.stdout.readline().removeprefix("serving ").strip()
            assert url in config.read_text()
            assert httpx.get(f"{url}/readyz", timeout=WAIT_S).text == "ok"
            program.send_signal(signal.SIGTERM)
            assert program.wait(WAIT_S) == 0
        finally:
            program.kill()
