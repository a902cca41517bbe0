"""`weir proxy-config`: what an Envoy runs, by its own account or by what it ACKed to Weir."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, WeirOption
from controlplane.cli.envoy_admin import EnvoyAdminOption, running
from controlplane.cli.output import Detailed, console
from controlplane.cli.proxy_tables import KINDS, bootstrap_table, table
from controlplane.errors import InspectionError
from controlplane.inspection.found import Found, Running
from controlplane.inspection.weir import read_resources

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

NodeArgument = Annotated[
    str, typer.Argument(metavar="ENVOY", help="Its node.id.", autocompletion=names.envoys)
]
OutputOption = Annotated[Detailed, typer.Option("--output", "-o", help="table, json or yaml.")]


@dataclass(frozen=True, slots=True)
class Source:
    """Where to ask."""

    envoy: str
    envoy_admin: str | None
    weir: ControlPlane

    def running(self) -> Running:
        """By the Envoy's own account. Raises `InspectionError` without its address."""
        if self.envoy_admin is None:
            raise InspectionError(
                "the bootstrap is known to the Envoy alone; "
                "give its own admin address with --envoy-admin HOST:PORT"
            )
        return running(self.envoy_admin, self.envoy)

    def types(self) -> dict[str, tuple[Found, ...]]:
        """By the short name of the type."""
        if self.envoy_admin is not None:
            return dict(self.running().types)
        path = f"/v1/proxies/{quote(self.envoy, safe='')}/acked"
        found = read_resources(self.weir.find(path))
        return {kind: one.resources for kind, one in found.items()}


@app.callback()
def proxy_config() -> None:
    """What an Envoy runs: with --envoy-admin by its own account, else what it ACKed to Weir."""


@app.command("all")
def everything(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Clusters, endpoints, listeners and routes; as json or yaml also every other type."""
    types = Source(envoy, envoy_admin, weir).types()
    if output is not Detailed.TABLE:
        _write({kind: _documents(found) for kind, found in types.items() if found}, output)
        return
    wide = console()
    for kind in KINDS:
        if types.get(kind):
            wide.print(table(kind, types[kind]))


@app.command("bootstrap")
def bootstrap(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """What it was started with; only the Envoy itself knows (--envoy-admin)."""
    found = Source(envoy, envoy_admin, HERE).running()
    if output is not Detailed.TABLE:
        _write(found.bootstrap, output)
        return
    console().print(bootstrap_table(found))


def _of(kind: str, source: Source, output: Detailed) -> None:
    types = source.types()
    if kind not in types:
        raise InspectionError(f"{source.envoy} has not asked Weir for {kind!r}")
    if output is not Detailed.TABLE:
        _write(_documents(types[kind]), output)
        return
    console().print(table(kind, types[kind]))


@app.command("cluster")
def cluster(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Its clusters."""
    _of("cds", Source(envoy, envoy_admin, weir), output)


@app.command("endpoint")
def endpoint(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Its endpoints and their weights."""
    _of("eds", Source(envoy, envoy_admin, weir), output)


@app.command("listener")
def listener(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Its listeners."""
    _of("lds", Source(envoy, envoy_admin, weir), output)


@app.command("route")
def route(
    envoy: NodeArgument,
    envoy_admin: EnvoyAdminOption = None,
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Its routes."""
    _of("rds", Source(envoy, envoy_admin, weir), output)


def _documents(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "version": one.version,
            "place": one.place.value,
            **({"refused": one.refused} if one.refused else {}),
            **({"not_shown": one.why} if one.body is None else {"config": one.body}),
        }
        for one in found
    ]


def _write(document: Any, output: Detailed) -> None:  # noqa: ANN401 (JSON)
    if output is Detailed.JSON:
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
