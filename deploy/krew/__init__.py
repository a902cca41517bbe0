"""The plugin for krew: an archive with a launcher, and the manifest that says where it is."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAME = "weir"
BIN = f"kubectl-{NAME}"
FILES = (HERE / BIN, ROOT / "LICENSE")
_DESCRIPTION = """\
Whether Envoys run what they should, why weights are what they are, what became of Gateways, routes
and policies, and whether Weir is installed whole:

  kubectl weir proxy-status
  kubectl weir weights explain shop/web
  kubectl weir status -n shop
  kubectl weir verify-install
"""
_CAVEATS = """\
This plugin runs the program `weir`, a package of Python 3.11 or later:

  pipx install weir

What pip installs is a plugin already; krew adds that kubectl finds it by name.
"""


def archive() -> bytes:
    """The same bytes from the same files, whenever and wherever it is made."""
    written = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=written, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in FILES:
            data = path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = len(data), 0o755 if path.name == BIN else 0o644
            tar.addfile(member, io.BytesIO(data))
    return written.getvalue()


def manifest(version: str, home: str, packed: bytes) -> dict[str, Any]:
    """What krew reads. `version` without a v; `home`: https://github.com/OWNER/REPOSITORY.

    https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/
    """
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": f"v{version}",
            "homepage": home,
            "shortDescription": "Look into Weir, a control plane for Envoy",
            "description": _DESCRIPTION,
            "caveats": _CAVEATS,
            "platforms": [
                {
                    "selector": {
                        "matchExpressions": [
                            {"key": "os", "operator": "In", "values": ["linux", "darwin"]}
                        ]
                    },
                    "uri": f"{home}/releases/download/v{version}/{BIN}.tar.gz",
                    "sha256": hashlib.sha256(packed).hexdigest(),
                    "bin": BIN,
                    "files": [{"from": path.name, "to": "."} for path in FILES],
                }
            ],
        },
    }
