"""`examples/06-jwt-and-api-keys` with the real Envoy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.lab.envoy import free_port
from tests.envoy.echo import call, echoes
from tests.envoy.edge import edge, until

pytestmark = pytest.mark.envoy

FOLDER = Path(__file__).parents[2] / "examples" / "06-jwt-and-api-keys"


def issued(*arguments: str) -> str:
    """What the example's issuer prints."""
    command = [sys.executable, str(FOLDER / "issue.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def test_the_example_does_what_it_says(tmp_path: Path) -> None:
    assert issued("--keys") in (FOLDER / "keys.yaml").read_text()
    async with echoes("shop") as running:
        port = free_port()
        documents = [
            file.read_text()
            .replace("port: 8080", f"port: {port}")
            .replace("port: 9001", f"port: {running['shop'].port}")
            for file in sorted(FOLDER.glob("*.yaml"))
        ]
        async with edge(tmp_path, *documents):
            await until(lambda: _is(port, "/", 200))
            assert (await call(port, "/api")).status == 401
            ann = {"authorization": f"Bearer {issued('ann')}"}
            got = await call(port, "/api", headers=ann)
            assert (got.status, got.sent.headers["x-user"]) == (200, "ann")
            assert (await call(port, "/api", headers=ann, method="POST")).status == 403
            ben = {"authorization": f"Bearer {issued('ben', '--team', 'stock')}"}
            assert (await call(port, "/api", headers=ben, method="POST")).status == 200

            assert (await call(port, "/partners")).status == 401
            keys = re.findall(r"weir_[A-Za-z0-9_-]{43}", (FOLDER / "README.md").read_text())
            for key, partner in zip(keys, ("acme", "acme", "globex"), strict=True):
                got = await call(port, "/partners", headers={"x-api-key": key})
                assert (got.status, got.sent.headers["x-partner"]) == (200, partner)
                assert "x-api-key" not in got.sent.headers


async def _is(port: int, path: str, status: int) -> bool:
    return (await call(port, path)).status == status
