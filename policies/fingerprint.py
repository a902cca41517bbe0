"""Which code plays: so that what was played by other code is not taken up again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import controlplane.model
import policies.env
import policies.simulator
from policies.env.stages import Stages


def code(*also: Path) -> str:
    """A digest of the simulator, the environments, the model and the stages of serving, and of
    these files and folders besides (`*.py`)."""
    stages = Stages.installed()
    packages = (policies.simulator, policies.env, controlplane.model, stages.decide, stages.guard)
    files: list[Path] = []
    for folder in [*(Path(str(one.__file__)).parent for one in packages), *also]:
        files += sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()[:16]
