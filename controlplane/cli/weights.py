"""`weir weights explain SERVICE`: observation, proposal, verdict and reasons of the last tick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from controlplane.cli import names
from controlplane.cli.admin import HERE, WeirOption
from controlplane.cli.attributions import show as show_attributions
from controlplane.cli.output import Detailed, OutputOption, console, tell
from controlplane.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def weights() -> None:
    """What was decided, and why."""


@app.command("list")
def list_services(
    weir: WeirOption = HERE,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Every service, its policy and its state."""
    services = [one for one in weir.ask("/v1/services") if weir.has(one["service"])]
    if output is not Detailed.TABLE:
        tell(services, output)
        return
    table = Table("service", "policy", "actuation", "endpoints", "groups", "age", "state")
    for one in services:
        table.add_row(
            one["service"],
            one["policy"],
            one["actuation"],
            str(one["endpoints"]),
            str(one["groups"]),
            _seconds(one["age_s"]),
            one["state"],
        )
    console().print(table)


@app.command("explain")
def explain(
    service: Annotated[
        str,
        typer.Argument(help="namespace/name, or name in `default`.", autocompletion=names.services),
    ],
    weir: WeirOption = HERE,
    attributions: Annotated[
        bool, typer.Option("--attributions", help="What moved a learned policy, per feature.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="With --attributions, of a decision in this log of `weir serve --decision-log`, "
            "without asking a running one.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --from, the last decision until then: as 2026-01-31T12:00:00Z, or seconds "
            "ago. [the last of all]",
        ),
    ] = None,
    model_dir: Annotated[
        Path | None,
        typer.Option(help="With --from, the release that decided, where it is not the installed."),
    ] = None,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """The last tick of a service: what was seen, wanted, allowed, and why.

    Of each group: its share before, what the base and the policy wanted, and what is in force.
    Of each endpoint: requests a second, mean and 99th percentile of the latency in milliseconds,
    requests in flight (busy), and the requests a second that it is believed to be good for.
    docs/decide.md and docs/guard.md say how. With --attributions also which features of the groups
    moved the learned policy away from its base, and how far (docs/explain.md). With --from the same
    of a decision out of a log.
    """
    if log is not None:
        _explain_logged(weir.full(service), log, at, model_dir, attributions, output)
        return
    if at is not None or model_dir is not None:
        raise ConfigurationError("--at and --model-dir are of a log: name it with --from")
    query = "?attributions=true" if attributions else ""
    document = weir.ask(f"/v1/services/{weir.full(service)}/explain{query}")
    if output is not Detailed.TABLE:
        tell(document, output)
        return
    show(document, console())
    if attributions:
        show_attributions(document["attributions"], console())


def _explain_logged(
    service: str,
    log: Path,
    at: str | None,
    model_dir: Path | None,
    attributions: bool,
    output: Detailed,
) -> None:
    if not attributions:
        raise ConfigurationError(
            "--from: a log tells what moved a learned policy and not the whole tick; add "
            "--attributions"
        )
    from controlplane.cli.logged import explain_logged, show_logged  # it loads what decides

    document = explain_logged(service, log, at, model_dir)
    if output is not Detailed.TABLE:
        tell(document, output)
        return
    show_logged(document, console())


def show(document: dict[str, Any], console: Console) -> None:
    """Print the explanation of a service for people."""
    look = document["observation"]
    numbers = "no numbers yet"
    if look["age_s"] is not None:
        envoys = "1 Envoy" if look["proxies"] == 1 else f"{look['proxies']} Envoys"
        numbers = (
            f"numbers {_seconds(look['age_s'])} old from {envoys} "
            f"(coverage {_percent(look['coverage'])})"
        )
    if look["sticky_share"]:
        numbers += f"; sessions hold {_percent(look['sticky_share'])} of the requests in place"
    console.print(
        f"{document['service']}: policy {document['policy']}, actuation {document['actuation']}, "
        f"{numbers}"
    )
    believed = document["estimate"]
    console.print(
        f"believed: {_plain(believed['demand_rps'])} requests/s arrive; an endpoint works on "
        f"{_plain(believed['servers'])} at once; scv of a request {_plain(believed['scv'])}"
    )
    groups = _table("group", "endpoints", "before", "base", "proposed", "in force", "weight")
    for one in document["groups"]:
        groups.add_row(
            one["group"],
            str(one["endpoints"]),
            *(_percent(one[key]) for key in ("before", "base", "proposed", "share")),
            str(one["weight"]),
        )
    console.print(groups)
    columns = ("share", "req/s", "ms", "p99", "busy", "errors", "capacity")
    endpoints = _table("endpoint", "group", *columns)
    for one in document["endpoints"]:
        endpoints.add_row(
            one["endpoint"],
            one["group"],
            _percent(one["share"]),
            _plain(one["rate_rps"]),
            _plain(_times(one["latency_s"], 1e3)),
            _plain(_times(one["latency_p99_s"], 1e3)),
            _plain(one["in_flight"]),
            _percent(one["error_ratio"]),
            f"{_plain(one['capacity_rps'])} ±{_plain(_times(one['deviation'], 1e2))}%",
        )
    console.print(endpoints)
    for one in document["places"]:
        text = f"Envoys in {one['place']}: {_zones(one['zones'])}"
        console.print(text, highlight=False, markup=False, emoji=False)  # as `eu:a:` would be
    for line in _between(document["between"]):
        console.print(line, highlight=False, markup=False, emoji=False)
    for note in document["notes"]:
        console.print(f"note: {note}", highlight=False)
    for reason in document["reasons"]:
        console.print(f"{reason['code']}: {reason['text']}", highlight=False)
    if not document["reasons"]:
        console.print("the guard let the proposal through as it was")


_MODES = {
    "room": "as near as there is room: too little is known to say where they take least time",
    "least-time": "where they take least time",
    "together": "to all zones as one, by requests in flight",
}


def _between(between: dict[str, Any] | None) -> Iterator[str]:
    """Why the requests of places go where they go.

    >>> list(_between({"mode": "together", "reasons": [{"code": "flooded", "text": "slow"}]}))
    ['requests go to all zones as one, by requests in flight', 'between zones: flooded: slow']
    """
    if between is not None:
        yield f"requests go {_MODES[between['mode']]}"
        for reason in between["reasons"]:
            yield f"between zones: {reason['code']}: {reason['text']}"


def _zones(zones: Sequence[dict[str, Any]]) -> str:
    """Where the requests of a place go, and where else when these cannot serve.

    >>> zone = {"zone": "eu:a", "priority": 0, "share": 1.0, "way_s": None}
    >>> _zones([zone, {**zone, "zone": "eu:b", "priority": 1, "way_s": 0.0125}])
    'eu:a, then eu:b (12.5 ms away)'
    """
    levels: dict[int, list[str]] = {}
    for one in zones:
        share = "" if one["share"] in (None, 1.0) else f" {_percent(one['share'])}"
        away = f" ({1e3 * one['way_s']:.3g} ms away)" if one["way_s"] else ""
        levels.setdefault(one["priority"], []).append(f"{one['zone']}{share}{away}")
    return ", then ".join(" and ".join(level) for level in levels.values())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _table(first: str, *others: str) -> Table:
    """Fits in 80 columns: no lines between, and the name is never cut."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name == "group" else "right")
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
