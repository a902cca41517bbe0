"""`weir translate -f DIR`: what each fleet of Envoys will get, in Envoy's own words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from controlplane.cli.fleets import snapshots
from controlplane.cli.output import Written
from controlplane.errors import ConfigurationError
from controlplane.inspection.canonical import from_bytes
from controlplane.model import OVERLAY, Snapshot
from controlplane.resources import validate_folder
from controlplane.resources.problems import did_you_mean
from controlplane.xds.confidential import confidential
from controlplane.xds.kinds import kind_of

WITHHELD = "it is, or carries, a secret"


def translate(
    folder: Annotated[
        Path, typer.Option("--filename", "-f", "--config", help="Folder with YAML documents.")
    ],
    output: Annotated[Written, typer.Option("--output", "-o", help="yaml or json.")] = Written.YAML,
    fleet: Annotated[
        str | None,
        typer.Option(help=f"One fleet: a Gateway's namespace/name, or {OVERLAY}; else all."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="cds, lds, rds, eds, sds, rtds or ecds; else all.")
    ] = None,
) -> None:
    """Print what the Envoys of each Gateway will be sent, from the documents of a folder alone.

    Weights are equal and names stand for 192.0.2.1: what is decided while serving is not known
    here. Secrets are not shown. What is wrong with the documents is said on the error stream.
    """
    loaded = validate_folder(folder)
    for problem in loaded.problems:
        typer.echo(str(problem), err=True)
    every = {one.fleet: one for one in snapshots(loaded.declared)}
    if fleet is not None and fleet not in every:
        raise ConfigurationError(f"no fleet {fleet}; {did_you_mean(fleet, every)}")
    wanted = [one for name, one in every.items() if fleet in (None, name)]
    types = {kind_of(url).name for one in wanted for url in one.resources}
    if kind is not None and kind not in types:
        raise ConfigurationError(f"no resources of type {kind}; {did_you_mean(kind, types)}")
    documents = {one.fleet: dict(_types(one, kind)) for one in wanted}
    if output is Written.JSON:
        typer.echo(json.dumps(documents, indent=2))
    else:
        typer.echo(yaml.safe_dump(documents, sort_keys=False, width=100), nl=False)


def _types(snapshot: Snapshot, only: str | None) -> Iterator[tuple[str, Sequence[Any]]]:
    for url, resources in snapshot.resources.items():
        name = kind_of(url).name
        if only in (None, name):
            yield name, [_shown(url, *one) for one in resources.items()]


def _shown(url: str, name: str, body: bytes) -> Mapping[str, Any]:
    if confidential(url, body):
        return {"name": name, "withheld": WITHHELD}
    return {"name": name, "config": from_bytes(url, body)}
