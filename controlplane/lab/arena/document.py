"""The arena as one JSON document: the heats, from which the rest follows, and what followed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from controlplane.errors import ConfigurationError
from controlplane.lab.arena.contestants import REFERENCE
from controlplane.lab.arena.results import Heat
from controlplane.lab.arena.table import stock_of
from controlplane.lab.arena.tally import MEASURES, Tally

OURS = ("model", "learned")
HARM = {"mean": 1.03, "p99": 1.05}
"""No scenario may be worse than the reference by more."""


def document(heats: Sequence[Heat], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, ready for `json`."""
    tally = Tally(heats, REFERENCE)
    return {
        "settings": dict(settings),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "reference": REFERENCE,
        "scenarios": {name: _scenario(tally, name) for name in tally.scenarios},
        "overall": {
            lane: {measure: _estimate(tally.overall(lane, measure)) for measure in MEASURES}
            for lane in tally.lanes
            if lane != REFERENCE
        },
        "ours": {lane: _of_ours(tally, lane) for lane in OURS if lane in tally.lanes},
        "reference_to_itself": dict(tally.repeats()),
        "not_valid": sum(not one.valid for one in heats),
        "heats": [one.to_json() for one in heats],
    }


def _scenario(tally: Tally, name: str) -> dict[str, Any]:
    lanes = {}
    for lane in tally.lanes:
        standing = tally.standing(name, lane)
        if standing is not None:
            lanes[lane] = {
                "mean_ms": round(standing.mean_ms, 2),
                "p99_ms": round(standing.p99_ms, 2),
                "error_ratio": round(standing.error_ratio, 5),
                **{measure: _estimate(standing.to(measure)) for measure in MEASURES},
            }
    best = tally.best(name, stock_of(tally.lanes))
    return {"lanes": lanes, "best_stock": best, "verdicts": verdicts(tally, name, best)}


def _of_ours(tally: Tally, lane: str) -> dict[str, dict[str, Any]]:
    """One of our lanes over all scenarios, to whom it has to beat."""
    stock = stock_of(tally.lanes)
    whom: dict[str, Callable[[str], str | None]] = {
        "best_stock_in_hindsight": lambda scenario: tally.best(scenario, stock)
    }
    whom |= {name: partial(_always, name) for name in ("pid", "model") if name != lane}
    return {
        name: {measure: _estimate(tally.overall(lane, measure, other)) for measure in MEASURES}
        for name, other in whom.items()
    }


def _always(name: str, scenario: str) -> str:
    return name


def verdicts(tally: Tally, scenario: str, best: str | None) -> dict[str, dict[str, Any]]:
    """Of each of our lanes: to the reference, to the best stock lane, and whether it did harm."""
    said: dict[str, dict[str, Any]] = {}
    for lane in OURS:
        standing = tally.standing(scenario, lane)
        if standing is None or standing.mean is None:
            continue
        said[lane] = {"to_reference": standing.mean.verdict}
        others = {"to_best_stock": best, "to_model": None if lane == "model" else "model"}
        for to, other in others.items():
            if other is not None:
                ratio = tally.against(scenario, lane, other, "mean")
                said[lane][to] = None if ratio is None else ratio.verdict
        said[lane]["harm"] = [
            measure
            for measure, most in HARM.items()
            if (estimate := standing.to(measure)) is not None and estimate.value > most
        ]
    return said


def _estimate(one: Any) -> dict[str, Any] | None:  # noqa: ANN401 - an Estimate or nothing
    return None if one is None else asdict(one) | {"verdict": one.verdict}


def write(path: Path, heats: Sequence[Heat], settings: Mapping[str, Any]) -> None:
    """Atomically, so that a run that is cut short leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(document(heats, settings), separators=(",", ":")) + "\n")
    draft.replace(path)


def read_heats(path: Path, settings: Mapping[str, Any]) -> list[Heat]:
    """The valid heats of a document that was made with the same settings; none without a file.
    Scenarios that it does not have are no difference.

    Raises `ConfigurationError` when it was made with others, or is not one.
    """
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text())
        was, now = dict(found["settings"]), dict(settings)
        before, scenarios = was.pop("scenarios"), now.pop("scenarios")
        heats = [one for one in map(Heat.of_json, found["heats"]) if one.valid]
        if was != now:
            raise ConfigurationError(f"{path} was played with other settings: {was}")
        played = sorted({one.scenario for one in heats})
        changed = [name for name in played if before[name] != scenarios.get(name)]
        if changed:
            raise ConfigurationError(
                f"{path} was played before {', '.join(changed)} became what it is: play into "
                "another file"
            )
        return heats
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a result of the arena: {error!r}") from None
