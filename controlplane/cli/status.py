"""`weir proxy-status`: which Envoys are connected and whether each runs what it should."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from controlplane.cli.admin import DEFAULT_ADMIN, AdminOption, ask
from controlplane.cli.output import Output


def proxy_status(
    admin_address: AdminOption = DEFAULT_ADMIN,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Every connected Envoy: for each type SYNCED, STALE (sent, not yet ACKed, or refused) or -."""
    proxies = ask(admin_address, "/v1/proxies")
    if output is Output.JSON:
        typer.echo(json.dumps(proxies))
        return
    kinds = sorted({kind for proxy in proxies for kind in proxy["types"]})
    table = Table("envoy", "fleet", *kinds, "refused")
    for proxy in proxies:
        refused = [f"{k}: {t['nacked']}" for k, t in proxy["types"].items() if t["nacked"]]
        states = [proxy["types"].get(kind, {}).get("state", "-") for kind in kinds]
        table.add_row(proxy["node"], proxy["fleet"], *states, "; ".join(refused))
    Console().print(table if proxies else "no Envoy is connected")
