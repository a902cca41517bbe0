"""`weir diff ENVOY`: what an Envoy should run against what it runs."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, WeirOption
from controlplane.cli.envoy_admin import EnvoyAdminOption, running
from controlplane.cli.output import Output
from controlplane.errors import InspectionError, WeirError
from controlplane.inspection.compare import Comparison, compare, lasting
from controlplane.inspection.weir import read_resources

TRIES = 5
"""How often a comparison is begun again because a push came in between."""


def diff(
    envoy: Annotated[str, typer.Argument(help="Its node.id.", autocompletion=names.envoys)],
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    only: Annotated[
        str | None, typer.Option("--type", help="One type alone: cds, eds, lds, rds, ...")
    ] = None,
    patience_s: Annotated[
        float, typer.Option(min=0.0, max=60.0, help="A difference must last this long to be told.")
    ] = 2.0,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """What Weir wants an Envoy to run against what it runs, by its own account.

    Exit status: 0 no difference, 1 differences, 2 it could not be compared.
    """
    try:
        if envoy_admin is None:
            raise InspectionError("give the Envoy's own admin address with --envoy-admin HOST:PORT")
        found = _compare(envoy, envoy_admin, weir, only)
        if found.differences and patience_s > 0:
            time.sleep(patience_s)  # weights move every second; what lasts is what is wrong
            found = lasting(found, _compare(envoy, envoy_admin, weir, only))
        if not found.compared and not found.differences:
            raise InspectionError(
                "nothing could be compared" + "".join(f"; {why}" for why in found.skipped)
            )
    except WeirError as error:
        typer.echo(f"weir: {error}", err=True)
        raise typer.Exit(2) from error
    if output is Output.JSON:
        typer.echo(json.dumps({"node": envoy, **dataclasses.asdict(found)}))
    else:
        show(envoy, found, Console(highlight=False, soft_wrap=True))
    raise typer.Exit(1 if found.differences else 0)


def _compare(envoy: str, envoy_admin: str, weir: ControlPlane, only: str | None) -> Comparison:
    """One look at both sides. What is intended must be the same before and after the look."""
    path = f"/v1/proxies/{quote(envoy, safe='')}/intended"
    path += f"?type={quote(only)}" if only is not None else ""
    before = weir.find(path)
    for _ in range(TRIES):
        there = running(envoy_admin, envoy)
        after = weir.find(path)
        if _versions(before) == _versions(after):
            break
        before = after
    if only is not None and not after["types"]:
        raise InspectionError(f"{envoy} has not asked for {only!r}")
    return compare(read_resources(after), there)


def _versions(document: dict[str, Any]) -> dict[str, str]:
    return {kind: one["version"] for kind, one in document["types"].items()}


def show(envoy: str, found: Comparison, console: Console) -> None:
    """For people: one heading for each resource, and the difference below it."""
    for one in found.differences:
        note = f" ({one.note})" if one.note else ""
        console.print(f"[bold]{one.type} {escape(one.name)}: {one.kind.value}[/]{escape(note)}")
        for line in one.lines:
            console.print(f"  {line}", style=_STYLES.get(line[:1]), markup=False)
    for why in found.skipped:
        console.print(f"not compared: {why}", markup=False)
    count = len(found.differences) or "no"
    noun = "difference" if count == 1 else "differences"
    console.print(f"{envoy}: {count} {noun}, {found.compared} resources compared", markup=False)


_STYLES = {"+": "green", "-": "red"}
