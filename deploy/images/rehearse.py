"""Build an image without an engine: its instructions, run in a fresh Debian root (debootstrap).

    python -m deploy.images.rehearse serve|train [--folder DIR]     # as root; minutes

Each stage gets a root of its own, COPY copies, RUN runs in it (chroot). Python packages come from
wheels that are fetched beforehand. Then the last stage is started as its image would be (`start`):
`serve` from a folder and in Kubernetes, where its health check must pass, and it must end by
SIGTERM; `train` trains for a few steps. Printed as JSON: sizes, and what happened.

What this is not: the base of `serve` is Debian's Python here and distroless there, so what is
measured is what we bring, the base apart; and nothing of an engine (layers, labels) is tested.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.images.dockerfile import Stage, stages
from deploy.images.start import Built, start_in_kubernetes, start_plain, train

REPOSITORY = Path(__file__).parents[2]
RELEASE = "bookworm"
BASES = {"serve": "ca-certificates,python3", "train": "ca-certificates,python3,python3-pip"}
"""Debian's packages in the place of what the base of each image brings."""
WHEELS = "/wheels"
EXTRAS = {"serve": "kubernetes,redis", "train": "train"}


def run(*words: str, deadline_s: float = 1200.0, env: Mapping[str, str] | None = None) -> str:
    """A command that must succeed; its output."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=deadline_s, env=dict(env) if env else None
    )
    if done.returncode != 0:
        tail = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"{shlex.join(words)} failed ({done.returncode}):\n{tail}")
    return done.stdout


def fetch_wheels(extra: str, to: Path) -> None:
    """What the image will install, and what it builds ours with."""
    constraints = str(REPOSITORY / "constraints.txt")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--wheel-dir", str(to), "-c", constraints)
    run(*pip, f"{REPOSITORY}[{extra}]")
    run(*pip, "setuptools>=80", "grpcio-tools~=1.85.0", "wheel")
    run(*pip, "async-timeout")  # of Debian's Python, 3.11.2; later ones do not want it
    for ours in to.glob("weir-*.whl"):
        ours.unlink()  # the image builds it from the sources


def base_root(folder: Path, image: str) -> Path:
    """A fresh Debian with its Python, made once."""
    root = folder / f"{RELEASE}-{image}"
    if not root.exists():
        made = folder / f".{RELEASE}-{image}"
        run("debootstrap", "--variant=minbase", f"--include={BASES[image]}", RELEASE, str(made))
        made.rename(root)
    return root


def build(all_of: Sequence[Stage], image: str, folder: Path, wheels: Path) -> Path:
    """Play the stages; the root of the last."""
    roots: dict[str, Path] = {}
    for stage in all_of:
        root = folder / f"stage-{stage.name}"
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "-a", "--reflink=auto", str(base_root(folder, image)), str(root))
        roots[stage.name] = root
        shutil.copytree(wheels, root / WHEELS[1:])
        where = "/"
        for one in stage.instructions:
            if one.word == "WORKDIR":
                where = one.text
                (root / where[1:]).mkdir(parents=True, exist_ok=True)
            elif one.word == "COPY":
                _copy(one.text, root / where[1:], root, roots)
            elif one.word == "RUN":
                _run_in(root, where, one.text, stage.environment)
        shutil.rmtree(root / WHEELS[1:])
    return roots[all_of[-1].name]


def _copy(text: str, where: Path, root: Path, roots: Mapping[str, Path]) -> None:
    words = shlex.split(text)
    options = dict(one[2:].split("=", 1) for one in words if one.startswith("--"))
    *sources, target = (one for one in words if not one.startswith("--"))
    to = root / target[1:] if target.startswith("/") else where / target
    for source in sources:
        stage = options.get("from")
        found = roots[stage] / source[1:] if stage else REPOSITORY / source
        if found.is_dir():
            shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=_ignored)
        else:
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, to)
    if "chown" in options:
        run("chown", "-R", options["chown"], str(to))


def _ignored(folder: str, names: list[str]) -> set[str]:
    """As .dockerignore has it; of what other stages made nothing."""
    inside = Path(folder).is_relative_to(REPOSITORY)
    return {one for one in names if inside and one in ("_pb", "__pycache__")}


def _run_in(root: Path, where: str, command: str, environment: Mapping[str, str]) -> None:
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": WHEELS,
        "PIP_BREAK_SYSTEM_PACKAGES": "1",  # Debian's word for what an image of Python just does
        **environment,
    }
    run("chroot", str(root), "/bin/sh", "-c", f"cd {shlex.quote(where)} && {command}", env=env)


def size_mb(folder: Path) -> float:
    """As `du` counts it."""
    return round(int(run("du", "-sk", str(folder)).split()[0]) / 1024, 1)


def components(packages: Path, to: Path) -> int:
    """What is in there as a CycloneDX document; how many parts."""
    program = REPOSITORY / ".venv-sbom/bin/cyclonedx-py"
    if not program.exists():
        raise SystemExit("an SBOM wants .venv-sbom: `make image-rehearsal` makes it")
    with tempfile.TemporaryDirectory() as name:
        # A Python that sees these packages and no others.
        python = Path(name) / "python3"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec /usr/bin/python3 -S "$@"\n')
        python.chmod(0o755)
        run(str(program), "environment", "--output-reproducible", "-o", str(to), str(python))
    return len(json.loads(to.read_text())["components"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", choices=sorted(EXTRAS))
    parser.add_argument("--folder", type=Path, help="Kept; a Debian that is in it is used again.")
    parser.add_argument("--sbom", type=Path, help="Write what is in it there (CycloneDX).")
    parser.add_argument("--built", action="store_true", help="What --folder has is built already.")
    asked = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("this wants root and debootstrap (apt-get install debootstrap)")
    with tempfile.TemporaryDirectory(prefix="weir-image-") as made:
        folder = asked.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        all_of = stages(Path(__file__).parent / f"{asked.image}.Dockerfile")
        root = folder / f"stage-{all_of[-1].name}"
        if not asked.built:
            with tempfile.TemporaryDirectory(prefix="weir-wheels-") as wheels:
                fetch_wheels(EXTRAS[asked.image], Path(wheels))
                root = build(all_of, asked.image, folder, Path(wheels))
        packages = root / "opt/weir"
        told: dict[str, object] = {"image": asked.image, "packages_mb": size_mb(packages)}
        if asked.sbom:
            told["components"] = components(packages, asked.sbom)
        built = Built(all_of[-1], root, folder)
        if asked.image == "serve":
            starts = [start_plain(built), start_in_kubernetes(built)]
            told |= {"from_a_folder": starts[0], "in_kubernetes": starts[1]}
        else:
            starts = [train(built)]
            told |= starts[0]
        print(json.dumps(told))
    raise SystemExit(0 if all(one["works"] and one["exit_status"] == 0 for one in starts) else 1)


if __name__ == "__main__":
    main()
