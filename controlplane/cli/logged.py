"""`weir weights explain --from FOLDER`: a decision out of a log, explained without a server.

The log of `weir serve --decision-log` has what the policy saw, to the last bit, and the shares of
its base: the release that decided says again what it said then, and why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from controlplane.api.attributions import attributions, none
from controlplane.cli.attributions import show as show_attributions
from controlplane.decide import Policies
from controlplane.decide.learned import Learned
from controlplane.decision_files import DecisionFiles
from controlplane.errors import ConfigurationError, NotExplainableError, PolicyLoadError, WeirError
from controlplane.model.decisions import Record
from controlplane.model.features import FEATURES
from controlplane.model.residual import BASE

_NAMED = 20
"""Services that an error names."""


def when(text: str, now: float) -> float:
    """Wall clock in seconds, from RFC 3339 or from how many seconds ago. Raises
    `ConfigurationError`.

    >>> when("90", 1000.0), when("1970-01-01T00:01:00Z", 1000.0)
    (910.0, 60.0)
    """
    try:
        ago = float(text)
    except ValueError:
        return _instant(text)
    if not 0.0 <= ago < math.inf:
        raise ConfigurationError(f"--at {text}: wanted how many seconds ago, 0 or more")
    return now - ago


def _instant(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigurationError(
            f"--at {text}: wanted a time as 2026-01-31T12:00:00Z, or how many seconds ago"
        )
    return at.timestamp()


def explain_logged(
    service: str, folder: Path, at: str | None, model_dir: Path | None
) -> dict[str, Any]:
    """The last decision about a service (`namespace/name`) that was made by then, as a document.
    Raises `WeirError` where there is none, and where the release that made it is not here.

    Its fields are those of the explanation by a running Weir, as far as the log has them.
    """
    record = _found(service, folder, math.inf if at is None else when(at, time.time()))
    rows = zip(record.groups, record.base, record.proposed, record.in_force, strict=False)
    return {
        "service": record.service,
        "policy": record.policy,
        "digest": record.digest,
        "at": _written(record.at),
        "explores": record.deviation,
        "groups": [
            {"group": name, "base": base, "proposed": proposed, "share": share}
            for name, base, proposed, share in rows
        ],
        "reasons": list(record.reasons),
        "attributions": _attributions(record, model_dir),
    }


def show_logged(document: Mapping[str, Any], console: Console) -> None:
    """Print it for people."""
    release = document["digest"] or "a formula"
    console.print(
        f"{document['service']}: decided at {document['at']} by {document['policy']} ({release})",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("group", no_wrap=True)
    for name in ("base", "proposed", "in force"):
        table.add_column(name, justify="right")
    for one in document["groups"]:
        shares = (f"{100.0 * one[key]:.1f} %" for key in ("base", "proposed", "share"))
        table.add_row(one["group"], *shares)
    console.print(table)
    if document["explores"] > 0.0:
        console.print(
            f"note: explores with a deviation of {document['explores']:g}, which is in what was "
            "proposed and not in what follows",
            highlight=False,
            soft_wrap=True,
        )
    if document["reasons"]:
        console.print(f"the guard: {', '.join(document['reasons'])}", highlight=False)
    show_attributions(document["attributions"], console)


def _found(service: str, folder: Path, until: float) -> Record:
    found: Record | None = None
    first, others = math.inf, set[str]()
    for record in DecisionFiles(folder).records():
        if record.service != service:
            others.add(record.service)
            continue
        first = min(first, record.at)
        if record.at <= until and (found is None or record.at >= found.at):
            found = record
    if found is not None:
        return found
    if first < math.inf:
        raise WeirError(
            f"{folder} has no decision about {service} until {_written(until)}: the first is of "
            f"{_written(first)}"
        )
    named = ", ".join(sorted(others)[:_NAMED]) + (" and others" if len(others) > _NAMED else "")
    raise WeirError(f"{folder} has no decision about {service}; it has {named or 'none'}")


def _attributions(record: Record, model_dir: Path | None) -> dict[str, Any]:
    if not record.digest:
        return none(
            record.policy,
            f"policy {record.policy!r} is a formula: there is nothing to share out among "
            "features; docs/decide.md has its equations",
        )
    policies = Policies.installed()
    if model_dir is not None:
        policy: object = Learned(base=policies.get(BASE), folder=model_dir)
    else:
        policy = policies.get(record.policy)
    if not isinstance(policy, Learned):
        return none(
            record.policy,
            f"policy {record.policy!r} is not of a kind that is asked again by a log alone",
        )
    if policy.release.digest != record.digest:
        raise PolicyLoadError(
            f"the decision of {_written(record.at)} was made by the release {record.digest}, and "
            f"{policy.release.folder} has {policy.release.digest}: name the folder of the one that "
            "decided with --model-dir, or another time with --at"
        )
    seen = np.frombuffer(record.table, "<f4").reshape(len(record.groups), len(FEATURES))
    try:
        found = policy.share_out(seen.astype(np.float32), np.array(record.base), record.groups)
    except NotExplainableError as error:
        return none(record.policy, str(error))
    return attributions(record.policy, found)


def _written(at: float) -> str:
    """
    >>> _written(60.25)
    '1970-01-01T00:01:00.250Z'
    """
    try:
        text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{at} s"
    return text.replace("+00:00", "Z")
