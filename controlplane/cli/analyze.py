"""`weir analyze -f DIR`: what is valid and still unwise."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from controlplane.analyze import Finding, Scene, Severity
from controlplane.analyze import analyze as findings
from controlplane.cli.kubectl import Kubectl
from controlplane.cli.output import Output
from controlplane.cli.reach import (
    AllOption,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    in_plugin,
)
from controlplane.resources import Problem, validate_folder

FOUND = 79
"""Exit status when something as bad as the threshold is found: that of `istioctl analyze`."""
REFUSED = "WEIR0001"
"""A document that is refused."""


def analyze(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--filename",
            "-f",
            "--config",
            help="Folder with YAML documents; else --context or --kubeconfig, or `kubectl weir`.",
        ),
    ] = None,
    failure_threshold: Annotated[
        Severity, typer.Option(help="Exit with status 79 from this severity on.")
    ] = Severity.ERROR,
    output_threshold: Annotated[
        Severity, typer.Option(help="Show from this severity on.")
    ] = Severity.INFO,
    suppress: Annotated[
        list[str] | None,
        typer.Option(
            "--suppress", "-S", metavar="CODE[=OBJECT]", help="Leave out, as WEIR0103=Backend a/*."
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.0, help="Report certificates that expire within so many days.")
    ] = 30.0,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    namespace: NamespaceOption = None,
    all_namespaces: AllOption = False,
) -> None:
    """Look for what is valid and still unwise: what leads nowhere or lacks a grant, policies that
    do nothing, matches that are never reached, plain text where TLS is expected, certificates that
    expire. Documents that are refused are findings too."""
    if folder is not None:
        loaded, where = validate_folder(folder), str(folder)
    elif context or kubeconfig or in_plugin(ctx):
        from controlplane.cli.objects import load_cluster

        loaded, where = load_cluster(Kubectl(context, kubeconfig), namespace), "the cluster"
    else:
        raise typer.BadParameter("give a folder, or --context or --kubeconfig of a cluster")
    only = None if all_namespaces else namespace
    scene = Scene(loaded.declared, datetime.datetime.now(datetime.UTC), days)
    every = [*map(_refused, loaded.refusals), *findings(scene)]
    kept = [one for one in every if _within(one, only) and not _suppressed(one, suppress or ())]
    shown = [one for one in kept if one.severity.reaches(output_threshold)]
    if output is Output.JSON:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in shown]))
    else:
        for one in shown:
            typer.echo(str(one))
        if not shown:
            typer.echo(f"nothing found in {where}")
    if any(one.severity.reaches(failure_threshold) for one in kept):
        raise typer.Exit(FOUND)


def _refused(problem: Problem) -> Finding:
    field = f"{problem.field}: " if problem.field else ""
    message = f"{field}{problem.message}"
    place = (problem.object, problem.file, problem.line)
    return Finding(Severity.ERROR, REFUSED, *place, message, problem.advice)


def _within(one: Finding, namespace: str | None) -> bool:
    """
    >>> one = Finding(Severity.INFO, "WEIR0103", "Backend a/b", "f", 1, "")
    >>> _within(one, None), _within(one, "a"), _within(one, "b")
    (True, True, False)
    """
    home = one.object.partition(" ")[2].partition("/")[0]
    return namespace is None or home == namespace


def _suppressed(one: Finding, rules: Sequence[str]) -> bool:
    """
    >>> one = Finding(Severity.INFO, "WEIR0103", "Backend a/b", "f", 1, "")
    >>> _suppressed(one, ["WEIR0103"]), _suppressed(one, ["WEIR0103=Backend b/*"])
    (True, False)
    """
    parts = (rule.partition("=") for rule in rules)
    return any(one.code == code and fnmatchcase(one.object, who or "*") for code, _, who in parts)
