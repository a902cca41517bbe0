"""`weir x explain-route METHOD URL`: which route takes a request, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from controlplane.cli import names
from controlplane.cli.admin import HERE, WeirOption
from controlplane.cli.output import Output
from controlplane.explain.document import document
from controlplane.explain.explanation import explain_route as explained
from controlplane.explain.request import Request
from controlplane.resources import validate_folder

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def x() -> None:
    """Looks into how things come about."""


@app.command("explain-route")
def explain_route(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...")],
    url: Annotated[str, typer.Argument(metavar="URL", help="As a client has it, with the port.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'name: value'; repeatable.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--filename", "-f", help="Folder with YAML documents; else a running Weir is asked."
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            help="namespace/name of one Gateway; else all on the port.",
            autocompletion=names.fleets,
        ),
    ] = None,
    weir: WeirOption = HERE,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Which Gateway, listener, route, rule and match takes a request and why, what nearly did,
    which policies are in force, and which Backends it goes to. Worked out from the documents."""
    if folder is not None:
        declared = validate_folder(folder).declared
        request = Request.of(method, url, header or ())
        found = [document(declared, one) for one in explained(declared, request, gateway)]
    else:
        given = {"method": method, "url": url, "header": header or []}
        query = urlencode({**given, **({"gateway": gateway} if gateway else {})}, doseq=True)
        found = weir.ask(f"/v1/explain-route?{query}")
    if output is Output.JSON:
        typer.echo(json.dumps(found))
    else:
        for one in found:
            for line in lines(one):
                typer.echo(line)


def lines(one: dict[str, Any]) -> Iterator[str]:
    """An explanation for people."""
    yield f"{one['request']}"
    yield f"  gateway   {one['gateway']}, listener {one['listener'] or 'none'}"
    yield f"  outcome   {one['said']}"
    if one["chosen"]:
        chosen = one["chosen"]
        yield f"  match     {_match(chosen)}, {chosen['file']}:{chosen['line']}"
        yield f"  because   {one['why']}"
    for part in one["to"]:
        where = f"Backend {part['backend']}" if part["backend"] else f"answered {part['status']}"
        why = f" ({part['why']})" if part["why"] else ""
        yield f"  to        {100 * part['share']:.4g} % {where}{why}"
        yield from (f"            {_filter(each)}" for each in part["filters"])
    for policy in one["policies"]:
        file = f"{policy['file']}:{policy['line']}"
        yield f"  policy    {policy['kind']} {policy['name']} for {policy['for']}, {file}"
        yield from (f"            goes before {each}" for each in policy["outranked"])
    for near in one["near"]:
        yield f"  not       {near['name']}: {_match(near)}, {near['file']}:{near['line']}"
        yield from (f"            {why}" for why in near["why_not"])


def _match(one: dict[str, Any]) -> str:
    match = json.dumps(one["match"], ensure_ascii=False) if one["match"] else "every request"
    return f"{match} of host {one['host']}"


def _filter(one: dict[str, Any]) -> str:
    rest = {key: value for key, value in one.items() if key != "type"}
    return f"{one['type']} {json.dumps(next(iter(rest.values()), {}), ensure_ascii=False)}"
