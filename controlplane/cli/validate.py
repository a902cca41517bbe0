"""`weir validate -f DIR`: what is wrong with the documents of a folder."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.output import Output
from controlplane.resources import validate_folder


def validate(
    folder: Annotated[
        Path, typer.Option("--filename", "-f", "--config", help="Folder with YAML documents.")
    ],
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Check the documents of a folder as `weir serve` would. Exit status 1 when one is refused."""
    loaded = validate_folder(folder, entry_points(group="controlplane.policies").names)
    objects = len(loaded.declared.objects())
    if output is Output.JSON:
        problems = [dataclasses.asdict(problem) for problem in loaded.problems]
        typer.echo(json.dumps({"objects": objects, "problems": problems}))
    else:
        for problem in loaded.problems:
            typer.echo(str(problem))
        if not objects and not loaded.problems:
            typer.echo(f"no documents in {folder}: *.yaml and *.yml of the folder itself are read")
            return
        count = len(loaded.problems) or "no"
        noun = "problem" if count == 1 else "problems"
        typer.echo(f"{objects} valid objects, {count} {noun} in {folder}")
    if loaded.problems:
        raise typer.Exit(1)
