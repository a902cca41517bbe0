"""`weir version`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import entry_points
from typing import Annotated

import typer

from controlplane.cli.output import Output
from controlplane.telemetry.version import version


def show(
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Print the version, the Python it runs on, and the policies that are installed."""
    facts = {
        "version": version(),
        "python": platform.python_version(),
        "policies": sorted(entry_points(group="controlplane.policies").names),
    }
    if output is Output.JSON:
        typer.echo(json.dumps(facts))
    else:
        policies = ", ".join(facts["policies"])
        typer.echo(f"weir {facts['version']} (Python {facts['python']}; policies: {policies})")
