"""`weir proxy-status`: which Envoys are connected and whether each runs what it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, WeirOption
from controlplane.cli.output import Output, console

MOST = 10_000
"""Envoys that are asked for."""


def proxy_status(
    envoy: Annotated[
        str | None,
        typer.Argument(
            help="A node.id, for all that is known of that Envoy.", autocompletion=names.envoys
        ),
    ] = None,
    weir: WeirOption = HERE,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Every connected Envoy, and for each type whether it runs what it should.

    SYNCED: it does. STALE: not yet or not any more; what it should run was not answered, refused,
    or is held back. NOT SENT: it asked, and got nothing yet. -: it did not ask.
    """
    document: Any = (
        connected(weir) if envoy is None else weir.find(f"/v1/proxies/{quote(envoy, safe='')}")
    )
    if output is Output.JSON:
        typer.echo(json.dumps(document))
    elif envoy is None:
        show_all(document, console())
    else:
        show_one(document, console())


def connected(weir: ControlPlane) -> list[dict[str, Any]]:
    """The Envoys of every replica, those of one namespace where that is asked for."""
    answers = list(weir.each(f"/v1/proxies?limit={MOST}"))
    found = answers[0]
    if len(answers) > 1:
        from controlplane.front.proxies import joined  # much comes with it, and few need it

        found = joined(answers)
    return [one for one in found if weir.has(one["fleet"])]


def show_all(proxies: Sequence[dict[str, Any]], console: Console) -> None:
    """One row an Envoy, and below the table why any of them refuses."""
    if not proxies:
        console.print("no Envoy is connected")
        return
    seen = {kind for proxy in proxies for kind in proxy["types"]}
    kinds = [kind for kind in _ORDER if kind in seen] + sorted(seen - {*_ORDER})
    placed = any(proxy["place"] for proxy in proxies)
    where = ("PLACE",) if placed else ()
    table = _table("ENVOY", "FLEET", *where, "CONNECTED", *(kind.upper() for kind in kinds))
    for proxy in proxies:
        states = [_short(proxy["types"].get(kind)) for kind in kinds]
        here = (proxy["place"] or "-",) if placed else ()
        since = _span(proxy["connected_s"])
        table.add_row(proxy["node"], proxy["fleet"], *here, since, *states)
    console.print(table)
    if len(proxies) >= MOST:
        console.print(f"these are the first {MOST}; there may be more")
    for proxy in proxies:
        for kind, one in proxy["types"].items():
            if one["nacked"]:
                console.print(f"{proxy['node']} refuses {kind}: {one['nacked']}", markup=False)


def show_one(proxy: dict[str, Any], console: Console) -> None:
    """One row a type, with versions and times."""
    where = f" in {proxy['place']}" if proxy["place"] else ""
    console.print(
        f"{proxy['node']} of fleet {proxy['fleet']}{where}: {proxy['mode']} from {proxy['peer']}, "
        f"{proxy['streams']} stream{'' if proxy['streams'] == 1 else 's'}, "
        f"connected since {proxy['connected_at']}",
        highlight=False,
        markup=False,
        emoji=False,
    )
    if proxy["also_in"]:
        fleets = ", ".join(proxy["also_in"])
        words = f"an Envoy of the same id is connected in {fleets}; this one came last"
        console.print(words, highlight=False, markup=False)
    heads = ("TYPE", "STATE", "FOR", "INTENDED", "SENT", "ACKED", "ACKED AT", "WHY")
    table = _table(*heads)
    for kind, one in proxy["types"].items():
        table.add_row(
            kind.upper(),
            one["state"],
            _span(one["for_s"]),
            one["intended"] or "-",
            one["sent"] or "-",
            one["acked"] or "-",
            one["acked_at"] or "-",
            one["why"] or "-",
        )
    console.print(table)
    for kind, one in proxy["types"].items():
        last = one["last_nack"]
        if last is not None:
            tense = "refuses" if one["nacked"] else "refused, and took another since:"
            text = f"{kind}: {tense} version {last['version']} at {last['at']}: {last['message']}"
            console.print(text, highlight=False, markup=False)


_ORDER = ("cds", "lds", "eds", "rds", "srds", "vhds", "ecds", "sds", "rtds")


def _table(*heads: str) -> Table:
    return Table(*heads, box=None, pad_edge=False)


def _short(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    return f"{one['state']} ({_span(one['for_s'])})"


def _span(seconds: float) -> str:
    """A length of time in one unit, as people say it.

    >>> _span(3.2), _span(250), _span(9000), _span(200_000)
    ('3s', '4m', '2h', '2d')
    """
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"
