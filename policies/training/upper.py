"""The upper levels of a run of `hierarchy`, read back from its folder: no release holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.errors import WeirError
from policies.agents.hierarchy import UPPER, Upper
from policies.training import checkpoint
from policies.training.recipe import of_document
from policies.training.train import TRAINED


def upper_levels(run: Path) -> Upper:
    """Those of a run that has ended, by its folder (`LOGS/seed-N`). WeirError where there are none,
    or none of this version."""
    path = run / TRAINED
    tree: dict[str, Any] = checkpoint.load(path)
    if UPPER not in tree.get("beside", {}):
        raise WeirError(f"{path} has no upper levels: wanted the folder of a run of `hierarchy`")
    try:
        recipe = of_document(json.loads(tree["made by"]["recipe"]))
        return Upper.of(tree["beside"][UPPER], recipe.settings.width, recipe.settings.layers)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeirError(f"{path} has no upper levels of this version: {error}") from error
