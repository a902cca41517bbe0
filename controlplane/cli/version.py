"""`weir version`."""

from __future__ import annotations

import platform
from importlib.metadata import entry_points

import typer

from controlplane.cli.output import Detailed, OutputOption, tell
from controlplane.telemetry.version import version


def show(
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Print the version, the Python it runs on, and the policies that are installed."""
    facts = {
        "version": version(),
        "python": platform.python_version(),
        "policies": sorted(entry_points(group="controlplane.policies").names),
    }
    if output is not Detailed.TABLE:
        tell(facts, output)
    else:
        policies = ", ".join(facts["policies"])
        typer.echo(f"weir {facts['version']} (Python {facts['python']}; policies: {policies})")
