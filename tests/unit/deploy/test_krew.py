"""The manifest for krew, held to the rules of its own `validate.go`, and the launcher, run."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

from deploy import krew


def test_the_manifest_is_what_krew_accepts() -> None:
    """https://github.com/kubernetes-sigs/krew/blob/master/pkg/index/validation/validate.go"""
    packed = krew.archive()
    made = krew.manifest("0.1.0", "https://github.com/example/weir", packed)
    assert made["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert made["kind"] == "Plugin"
    assert re.fullmatch(r"[\w-]+", made["metadata"]["name"])
    spec = made["spec"]
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[\w.]+)?", spec["version"])
    assert 0 < len(spec["shortDescription"]) <= 50  # the index asks for this
    (platform,) = spec["platforms"]
    assert re.fullmatch("[a-f0-9]{64}", platform["sha256"])
    assert platform["sha256"] == hashlib.sha256(packed).hexdigest()
    assert platform["bin"]
    assert platform["uri"].startswith("https://")
    assert {one["key"] for one in platform["selector"]["matchExpressions"]} <= {"os", "arch"}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert tar.getnames() == [one["from"] for one in platform["files"]]
        assert tar.getmember(platform["bin"]).mode == 0o755
    assert packed == krew.archive()


def test_the_launcher_runs_weir_as_a_plugin_and_says_when_there_is_none(tmp_path: Path) -> None:
    def run(path: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(krew.HERE / krew.BIN), "status", "-n", "a b"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    missing = run("/usr/bin:/bin")
    assert missing.returncode == 127
    assert "pipx install weir" in missing.stderr
    weir = tmp_path / "weir"
    weir.write_text('#!/bin/sh\nfor one in "$@"; do echo "[$one]"; done\n')
    weir.chmod(0o755)
    assert run(f"{tmp_path}:/usr/bin:/bin").stdout.split("\n")[:4] == [
        *("[__plugin]", "[status]", "[-n]", "[a b]")
    ]
