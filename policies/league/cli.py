"""The verbs `weir evaluate` and `weir league`. What plays is imported by the first alone."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Shown

from controlplane.checkout import commit
from controlplane.errors import WeirError
from policies.console import bar, plainly

if TYPE_CHECKING:
    from policies.league.players import Player
    from policies.league.suite import Suite
    from policies.league.tables import Table

NOT_REACHED = 3
"""Exit status of `weir league` where a released policy falls short of a target."""
JOURNAL = ".played.jsonl"


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Outputs = Annotated[Output, typer.Option("--output", "-o", help="table, json or yaml.")]


def evaluate(
    release: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a release, instead of the installed ones; repeatable."),
    ] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family; repeatable.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Of each family and size; default: 12.")] = None,
    first_seed: Annotated[
        int | None, typer.Option(help="Others than those of the published table.")
    ] = None,
    scenario_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="On this service of `weir sim calibrate --to`, instead of the held-out cases; "
            "repeatable."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            help="Judge the releases by this log of `weir serve --decision-log`, instead of "
            "playing anything."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A look in about two minutes.")] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Writes TO.json, .csv, .md, .png and .html (quick: TO-quick.*); default: league. "
            "Of a --scenario-file TO.json, if given."
        ),
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Write the table between the marks of this file, too.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; default: all cores.")] = None,
    output: Outputs = Output.TABLE,
) -> None:
    """Play every released policy and every baseline on held-out cases, and write the league.

    Stopped, it goes on where it was when it is called again. With --scenario-file it tells what
    each is worth on your service, as it was fitted; with --log what each release would have been
    worth in place of the policy that wrote the log (docs/agents/offline.md).
    """
    console = Console(stderr=True)
    if log is not None:
        others = {
            "--scenario-file": scenario_file, "--family": family, "--quick": quick,
            "--readme": readme, "--seeds": seeds, "--first-seed": first_seed, "--to": to,
            "--jobs": jobs,
        }  # fmt: skip
        with plainly(console):
            if given := [name for name, value in others.items() if value]:
                raise ValueError(f"--log: nothing is played, so {', '.join(given)} says nothing")
            _by_log(console, log, release or (), output)
        return
    if scenario_file:
        others = {"--family": family, "--quick": quick, "--readme": readme}
        with plainly(console):
            if given := [name for name, value in others.items() if value]:
                raise ValueError(f"--scenario-file: {', '.join(given)} is of the held-out cases")
            _on_services(console, scenario_file, release or (), seeds, first_seed, to, jobs, output)
        return
    with plainly(console, stopped="the same command goes on from here"):
        from policies.league.players import everybody, released
        from policies.league.suite import Suite
        from policies.league.tables import around, for_readme, write_between
        from policies.simulator import FAMILIES

        # What would fail at the end fails at the beginning.
        _check_jobs(jobs)
        if readme is not None:
            around(readme)
        chosen = tuple(family or FAMILIES)
        wanted = Suite.quick(chosen) if quick else Suite(chosen)
        wanted = _changed(wanted, seeds=seeds, first_seed=first_seed)
        folders = [released(one.resolve().name, one.resolve()) for one in release or ()]
        players = everybody(folders or None)
        league = _played(console, wanted, players, _prefix(to or Path("league"), quick), jobs)
        if readme is not None and not quick:
            write_between(readme, for_readme(league))
        _show(league, output)


def _on_services(
    console: Console,
    files: Sequence[Path],
    releases: Sequence[Path],
    seeds: int | None,
    first_seed: int | None,
    to: Path | None,
    jobs: int | None,
    output: Output,
) -> None:
    """Play everybody on services that were fitted."""
    from policies.env.stages import Stages
    from policies.league.fitted import SEEDS, played, stretches, table
    from policies.league.players import everybody, registry, released
    from policies.league.suite import LEAGUE_SEEDS
    from policies.league.written import write
    from policies.simulator.fitted import Fitted, read

    _check_jobs(jobs)
    players = everybody([released(one.resolve().name, one.resolve()) for one in releases] or None)
    many = SEEDS if seeds is None else seeds
    first = LEAGUE_SEEDS if first_seed is None else first_seed
    chosen = [stretches(Fitted(read(file)), many, first) for file in files]
    registry(Stages.installed(), players)  # refused here rather than in a worker
    prefix = None if to is None else _prefix(to, quick=False)
    if prefix is not None:
        prefix.parent.mkdir(parents=True, exist_ok=True)
    services = []
    with bar(console, "playing", many * len(files)) as advance:
        for i, one in enumerate(chosen):

            def told(n: int, of: int, done: int = i * many) -> None:
                advance(done + n)

            services.append(played(one, players, jobs=jobs, progress=told))
    found = {"services": services}
    if prefix is not None:
        write(prefix.with_name(prefix.name + ".json"), json.dumps(found, indent=1) + "\n")
    if output is not Output.TABLE:
        _tell(found, output)
        return
    shown = Console(width=None if sys.stdout.isatty() else 200)
    for service in services:
        shown.print(_shown(table(service)))
        for note in service["notes"]:
            shown.print(f"note: {note}", highlight=False, markup=False)
        shown.print()


def _by_log(console: Console, folder: Path, releases: Sequence[Path], output: Output) -> None:
    """What a log of decisions says of releases."""
    from policies.league.players import installed, released
    from policies.training.by_log import judged, table

    chosen = [released(one.resolve().name, one.resolve()) for one in releases] or installed()
    with console.status("asking the log"):
        found = judged(folder, chosen)
    if output is not Output.TABLE:
        _tell(found, output)
        return
    shown = Console(width=None if sys.stdout.isatty() else 200)
    shown.print(_shown(table(found)))
    for one in found["releases"]:
        for note in one["notes"]:
            shown.print(f"note: {one['name']}: {note}", highlight=False, markup=False)


def _check_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs: wanted at least 1, got {jobs}")


def league(
    file: Annotated[
        Path | None,
        typer.Argument(help="What `weir evaluate` wrote; default: that of the release."),
    ] = None,
    player: Annotated[
        str | None, typer.Option(help="Scenario by scenario, for this one of those judged.")
    ] = None,
    output: Outputs = Output.TABLE,
) -> None:
    """Show a league. Exit status 3 where a released policy falls short of a target."""
    console = Console(stderr=True)
    with plainly(console):
        from policies.league.written import reached, read

        path = file or _default()
        found = read(path)
        if player is not None and player not in found["verdicts"]:
            known = ", ".join(found["verdicts"])
            raise ValueError(f"{player} was not judged; {known} were")
        try:
            _show(found, output, player)
            enough = reached(found)
        except (LookupError, TypeError, AttributeError) as error:
            raise WeirError(f"{path} is no whole league: {error!r}") from error
    if not enough:
        raise typer.Exit(NOT_REACHED)


def _changed(suite: Suite, **values: int | None) -> Suite:
    from dataclasses import replace

    given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    return replace(suite, **given)


def _prefix(to: Path, quick: bool) -> Path:
    plain = to.with_suffix("") if to.suffix == ".json" else to
    return plain.with_name(f"{plain.name}-quick") if quick else plain


def _default() -> Path:
    here = Path("league.json")
    kept = Path(__file__).parents[2] / "benchmarks" / "results" / "league.json"
    for one in (here, kept):
        if one.is_file():
            return one
    raise ValueError("no league here: `weir evaluate` plays one, or name a file")


def _played(
    console: Console, suite: Suite, players: tuple[Player, ...], prefix: Path, jobs: int | None
) -> dict[str, Any]:
    """Play, and write every form of it."""
    from policies.league.document import document
    from policies.league.page import page
    from policies.league.picture import plot
    from policies.league.players import releases
    from policies.league.results import Results
    from policies.league.seen import warnings
    from policies.league.tables import markdown
    from policies.league.tournament import cores, tournament
    from policies.league.written import as_csv, write

    prefix.parent.mkdir(parents=True, exist_ok=True)
    journal = prefix.with_name(prefix.name + JOURNAL)
    jobs = jobs or cores()
    began, made_by = time.monotonic(), commit()
    warned = [said for player in players for said in warnings(player)]
    for said in warned:
        console.print(f"warning: {said}", style="yellow", markup=False, highlight=False)
    console.print(
        f"{len(players)} players on {len(suite)} cases, {jobs} processes; {journal} keeps what was "
        "played",
        highlight=False,
    )
    with bar(console, "playing", len(suite)) as advance:
        played = tournament(
            suite, players, journal, jobs=jobs, progress=lambda n, of: advance(n, of=of)
        )
    about = {
        "command": " ".join(["weir", *sys.argv[1:]]),
        "commit": made_by,
        "releases": releases(players),
        "machine": f"{platform.machine()}, {cores()} cores",
        "seconds": round(time.monotonic() - began),
        **({"warnings": warned} if warned else {}),
    }
    made = document(suite, Results(played, players), about)
    forms = {
        ".json": json.dumps(made, indent=1) + "\n",
        ".csv": as_csv(made),
        ".md": markdown(made),
        ".html": page(made),
    }
    for suffix, text in forms.items():
        write(prefix.with_name(prefix.name + suffix), text)
    plot(made, prefix.with_name(prefix.name + ".png"))
    console.print(f"written: {prefix}.json, .csv, .md, .png, .html", highlight=False)
    return made


def _show(league: Mapping[str, Any], output: Output, player: str | None = None) -> None:
    if output is not Output.TABLE:
        _tell(league, output)
        return
    from policies.league import tables

    console = Console(width=None if sys.stdout.isatty() else 200)
    shown = [tables.players(league)]
    shown += [tables.targets(league, name) for name in league["verdicts"]]
    chosen = list(league["verdicts"]) if player is None else [player]
    shown += [tables.scenarios(league, name) for name in chosen]
    for one in shown:
        console.print(_shown(one))
        console.print()
    console.print(tables.caption(league), highlight=False, markup=False)


def _tell(document: Mapping[str, Any], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps(document))
        return
    import yaml

    typer.echo(yaml.safe_dump(dict(document), sort_keys=False), nl=False)


def _shown(one: Table) -> Shown:
    table = Shown(title=one.title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in one.head:
        table.add_column(head)
    for row in one.rows:
        table.add_row(*row)
    return table
