"""A league as it was written: read again, shown, and asked whether it is good enough.

Neither the simulator nor anything else that plays is imported here, nor by the modules that show.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.errors import WeirError

FORMAT = 1
MEASURES = ("mean", "p99")
BEST = "best_stock"
"""What Envoy alone could have had in each case, had one known beforehand which policy to take."""


def reached(league: Mapping[str, Any]) -> bool:
    """Whether every released policy reaches every target and does no harm anywhere."""
    kinds = {one["name"]: one["kind"] for one in league["players"]}
    released = [v for name, v in league["verdicts"].items() if kinds[name] == "released"]
    said = [one["no_harm"] for one in released]
    said += [target["verdict"] for one in released for target in one["targets"]]
    return bool(said) and all(one == "reached" for one in said)


def read(path: Path) -> dict[str, Any]:
    """A document that was written before."""
    try:
        league = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeirError(f"{path}: {error}") from error
    if not isinstance(league, dict) or league.get("format") != FORMAT or "verdicts" not in league:
        raise WeirError(f"{path} is no league of this version; `weir evaluate` makes one")
    return league


def write(path: Path, text: str) -> None:
    """The whole of it or, where the process is ended meanwhile, what was there before."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    os.replace(draft, path)


def as_csv(league: Mapping[str, Any]) -> str:
    """A row for each block and player."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    ends = [f"{m}{end}" for m in MEASURES for end in ("", "_low", "_high")]
    rows.writerow(["cases", "n", "player", "kind", *ends, "errors"])
    kinds = {one["name"]: one["kind"] for one in league["players"]}
    for block in league["blocks"]:
        for name, one in block["players"].items():
            kind = kinds.get(name, "hindsight")
            values = [*one["mean"], *one["p99"]]
            rows.writerow([block["name"], block["cases"], name, kind, *values, one["errors"]])
    return text.getvalue()
