"""A release: one version in every place that names it, its section of the changelog, its tag.

    python -m deploy.release check v0.2.0                # is the tag what every place says?
    python -m deploy.release notes 0.2.0                 # its section of the changelog
    python -m deploy.release prepare 0.2.0 2027-01-31    # write it everywhere, date the changelog

`pyproject.toml` has the version; every other place is written from it and checked against it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+(?:-(?:alpha|beta|rc)\.\d+)?")
"""Of Semantic Versioning what Helm, OCI tags and (after `python_version`) Python all take."""
PLACES: tuple[tuple[str, str], ...] = (
    ("charts/weir/Chart.yaml", r"(?m)^(?:version|appVersion|    version): (\S+)$"),
    ("charts/weir/charts/crds/Chart.yaml", r"(?m)^(?:version|appVersion): (\S+)$"),
    ("charts/weir/charts/redis/Chart.yaml", r"(?m)^(?:version|appVersion): (\S+)$"),
    ("charts/weir/charts/monitoring/Chart.yaml", r"(?m)^(?:version|appVersion): (\S+)$"),
    ("deploy/images/serve.Dockerfile", r"(?m)^ARG VERSION=(\S+)$"),
    ("deploy/images/train.Dockerfile", r"(?m)^ARG VERSION=(\S+)$"),
)
"""File, and where in it the version stands."""
_OWN = r'(?m)^version = "([^"]+)"$'
_UNRELEASED = "## Unreleased"


def python_version(version: str) -> str:
    """As Python writes it (PEP 440): 0.2.0-rc.1 is 0.2.0rc1."""
    release, _, early = version.partition("-")
    kind, _, number = early.partition(".")
    return release + {"alpha": "a", "beta": "b"}.get(kind, kind) + number


def current(root: Path = ROOT) -> str:
    """The version of `pyproject.toml`, as Python writes it."""
    found: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return found


def notes(changelog: str, version: str) -> str:
    """The section of a version, without its heading. Raises `ValueError` without one."""
    heading = re.search(rf"(?m)^## {re.escape(version)}(?: .*)?$", changelog)
    if heading is None:
        raise ValueError(f"CHANGELOG.md has no section {version}")
    body = changelog[heading.end() :]
    end = re.search(r"(?m)^## ", body)
    return body[: end.start() if end else None].strip() + "\n"


def wrong(version: str, root: Path = ROOT) -> list[str]:
    """Every place that names another version than this, in words."""
    found = []
    if (own := current(root)) != python_version(version):
        found.append(f"pyproject.toml says {own}")
    for file, where in PLACES:
        said = re.findall(where, (root / file).read_text())
        if set(said) != {version}:
            found.append(f"{file} says {', '.join(sorted(set(said))) or 'nothing'}")
    return found


def prepare(version: str, day: date, root: Path = ROOT) -> None:
    """Write the version everywhere, and give what is unreleased its name and date."""
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text()
    if text.count(_UNRELEASED) != 1 or re.search(rf"(?m)^## {re.escape(version)}\b", text):
        raise ValueError(f"CHANGELOG.md needs one section Unreleased, and none {version}")
    changelog.write_text(text.replace(_UNRELEASED, f"{_UNRELEASED}\n\n## {version} - {day}"))
    own = root / "pyproject.toml"
    own.write_text(_written(own.read_text(), _OWN, python_version(version)))
    for file, where in PLACES:
        place = root / file
        place.write_text(_written(place.read_text(), where, version))


def _written(text: str, where: str, version: str) -> str:
    def put(found: re.Match[str]) -> str:
        return found[0].replace(found[1], version)

    return re.sub(where, put, text)


def _asked(text: str) -> str:
    version = text.removeprefix("v")
    if not VERSION.fullmatch(version):
        raise ValueError(f"{text} is no version: 1.2.3, or 1.2.3-rc.1")
    return version


def main(words: Sequence[str]) -> str:
    """One command; what it prints. Raises `ValueError` where something is wrong."""
    match words:
        case ["check", tag]:
            version = _asked(tag)
            notes((ROOT / "CHANGELOG.md").read_text(), version)
            if problems := wrong(version):
                raise ValueError(f"{tag}: {'; '.join(problems)}")
            return version
        case ["notes", tag]:
            return notes((ROOT / "CHANGELOG.md").read_text(), _asked(tag)).rstrip()
        case ["prepare", tag, day]:
            prepare(_asked(tag), date.fromisoformat(day))
            return "now `make kustomize`, and on with docs/versioning.md"
        case _:
            raise ValueError((__doc__ or "").strip())


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except ValueError as wrong_request:
        raise SystemExit(str(wrong_request)) from None
