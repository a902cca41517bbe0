"""`python -m deploy.krew --home https://github.com/OWNER/weir --to DIR`: what a release uploads."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import yaml

from deploy import krew


def main() -> None:
    """Write the archive and its manifest."""
    parser = argparse.ArgumentParser(prog="python -m deploy.krew", description=__doc__)
    parser.add_argument("--home", required=True, help="https://github.com/OWNER/REPOSITORY")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args()
    version = tomllib.loads((krew.ROOT / "pyproject.toml").read_text())["project"]["version"]
    packed = krew.archive()
    given.to.mkdir(parents=True, exist_ok=True)
    (given.to / f"{krew.BIN}.tar.gz").write_bytes(packed)
    manifest = krew.manifest(version, given.home.rstrip("/"), packed)
    (given.to / f"{krew.NAME}.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))


if __name__ == "__main__":
    main()
