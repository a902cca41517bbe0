"""`weir status`: what became of each Gateway, route and policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, NotThere, WeirOption
from controlplane.cli.output import Output, console

_STATUS = {True: "True", False: "False", None: "Unknown"}


def status(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Only objects whose `Kind namespace/name` has this.",
            autocompletion=names.objects,
        ),
    ] = None,
    weir: WeirOption = HERE,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Every Gateway, route and policy with its conditions: Accepted, ResolvedRefs, and Programmed,
    which is True when the Envoys have taken it. Exit status 1 when a condition is False."""
    found = [
        one
        for one in weir.ask("/v1/status")
        if weir.has(one["name"]) and (name is None or name in _name(one))
    ]
    if output is Output.JSON:
        typer.echo(json.dumps(found))
    elif not found:
        typer.echo("nothing is declared" if name is None else f"no object has {name!r} in its name")
    else:
        if among := _among_replicas(weir):
            console().print(among, markup=False, highlight=False)
        table = Table("OBJECT", "PART", "CONDITION", "STATUS", "REASON", box=None, pad_edge=False)
        for row in rows(found):
            table.add_row(*row)
        console().print(table)
    if any(each["status"] is False for one in found for each in one["conditions"]):
        raise typer.Exit(1)


def _among_replicas(weir: ControlPlane) -> str:
    """What the replica that was asked is among several; empty where it is alone."""
    try:
        return replica_line(weir.ask("/v1/replica"))
    except NotThere:  # it is alone
        return ""


def replica_line(found: dict[str, Any]) -> str:
    """In words.

    >>> replica_line({"role": "decides", "epoch": 3, "since_s": 4.2, "followers": ["weir-2"]})
    'this replica decides (epoch 3) for 4 s; followed by weir-2'
    """
    what = f"this replica {found['role']} (epoch {found['epoch']}) for {found['since_s']:.0f} s"
    if found["role"] in ("decides", "gathers"):
        followers = ", ".join(found["followers"]) or "nobody"
        return f"{what}; followed by {followers}"
    return f"{what}: {found['why']}. Programmed is of the Envoys of this replica alone"


def rows(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """One row a condition; why it does not hold stands beside the reason."""
    for one in found:
        for each in one["conditions"]:
            why = f": {each['message']}" if each["message"] else ""
            status = _STATUS[each["status"]]
            yield _name(one), each["part"] or "-", each["type"], status, f"{each['reason']}{why}"


def _name(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['name']}"
