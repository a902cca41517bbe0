"""`weir install`: the chart into a cluster, by the real Helm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from typer.core import TyperCommand

from controlplane.cli.chart import chart_folder
from controlplane.cli.installed import SYSTEM
from controlplane.cli.output import Written
from controlplane.cli.reach import ContextOption, KubeconfigOption
from controlplane.errors import ConfigurationError, WeirError

RENDER_S = 120.0
"""Helm puts manifests together within this."""
LATE_S = 60.0
"""How much longer than `--timeout` an installation may take."""


class Rehearsal(StrEnum):
    """What `--dry-run` takes."""

    CLIENT = "client"
    SERVER = "server"


class _ValueIsOptional(TyperCommand):
    """`--dry-run` may stand alone, and takes a value after an equals sign only."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """The arguments, with what a lone option stands for."""
        return super().parse_args(ctx, with_values(args))


def with_values(args: Sequence[str]) -> list[str]:
    """
    >>> with_values(["--dry-run", "-n", "a"]), with_values(["--", "--dry-run"])
    (['--dry-run=client', '-n', 'a'], ['--', '--dry-run'])
    """
    ends = args.index("--") if "--" in args else len(args)
    alone = {"--dry-run": "--dry-run=client"}
    return [*(alone.get(one, one) for one in args[:ends]), *args[ends:]]


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=_ValueIsOptional)
def install(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where Weir is to be; made if it is not there.")
    ] = SYSTEM,
    release: Annotated[str, typer.Option(help="What Helm calls it.")] = "weir",
    values: Annotated[
        list[str] | None,
        typer.Option("--values", "-f", help="YAML file of values; repeatable."),
    ] = None,
    assigned: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value; repeatable.")
    ] = None,
    chart: Annotated[
        str | None,
        typer.Option(help="Another chart than the one that comes along: folder, archive, oci://."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Of the chart, where --chart names a place with several.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until everything is ready.")] = False,
    timeout_s: Annotated[
        float, typer.Option(min=1.0, max=7200.0, help="Seconds that this may take.")
    ] = 300.0,
    dry_run: Annotated[
        Rehearsal | None,
        typer.Option(
            "--dry-run",
            metavar="[=client|server]",
            help="Print the manifests and install nothing; `server` asks the API server too.",
        ),
    ] = None,
    output: Annotated[
        Written | None,
        typer.Option("--output", "-o", help="yaml or json. [yaml of a dry run, else for people]"),
    ] = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Further options of Helm.")
    ] = None,
) -> None:
    """Install Weir into a cluster, or upgrade it, with the chart of this very version.

    It runs `helm upgrade --install`; values, versions and options are Helm's. With --dry-run the
    manifests are printed, for a look or for GitOps; they hold the private keys that Helm makes
    where `xds.tls.mode` is `generated`.
    """
    if version is not None and chart is None:
        raise ConfigurationError(
            "this weir brings the chart of its own version; for another give --chart (such as "
            "oci://REGISTRY/weir) with --version, or install that version of weir"
        )
    given = [release, chart or str(chart_folder()), "--namespace", namespace]
    given += ["--version", version] if version is not None else []
    for name, each in (("--values", values), ("--set", assigned)):
        given += [word for one in each or () for word in (name, one)]
    given += ["--kube-context", context] if context else []
    given += ["--kubeconfig", kubeconfig] if kubeconfig else []
    given += more or []
    if dry_run is Rehearsal.CLIENT:
        text = _helm(["template", *given, "--skip-tests"], RENDER_S)
    else:
        install = ["upgrade", "--install", "--create-namespace", *given]
        install += ["--timeout", f"{timeout_s:g}s", *(["--wait"] if wait else [])]
        if dry_run is None and output is None:
            typer.echo(_helm(install, timeout_s + LATE_S), nl=False)
            typer.echo(f"\nIs it whole?\n\n  weir verify-install --weir-namespace {namespace}")
            return
        rehearsed = [] if dry_run is None else ["--dry-run=server"]
        said = json.loads(_helm([*install, *rehearsed, "--output", "json"], timeout_s + LATE_S))
        if dry_run is None:
            typer.echo(_summary(said, output), nl=False)
            return
        text = str(said["manifest"])
    typer.echo(_written(text, output), nl=False)


def _summary(release: Mapping[str, Any], output: Written | None) -> str:
    """What became of it, without the manifests, which hold keys."""
    found = {
        "release": release["name"],
        "namespace": release["namespace"],
        "revision": release["version"],
        "status": release["info"]["status"],
        "chart": release["chart"]["metadata"]["version"],
    }
    if output is Written.JSON:
        return json.dumps(found) + "\n"
    return yaml.safe_dump(found, sort_keys=False)


def _written(manifests: str, output: Written | None) -> str:
    if output is not Written.JSON:
        return manifests
    items = [one for one in yaml.safe_load_all(manifests) if one]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}) + "\n"


def _helm(arguments: Sequence[str], deadline_s: float) -> str:
    """What it prints. Raises `WeirError` with its words."""
    program = shutil.which("helm")
    if program is None:
        raise ConfigurationError(
            "helm is not on the PATH: install Helm 3.14 or later as "
            "https://helm.sh/docs/intro/install says, or have your GitOps install charts/weir"
        )
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeirError(
            f"helm {arguments[0]}: not done within {deadline_s:g} s; see `helm -n NAMESPACE status`"
        ) from error
    if done.returncode != 0:
        raise WeirError(f"helm {arguments[0]}: {done.stderr.strip()[-4000:] or 'it said nothing'}")
    if done.stderr.strip():
        typer.echo(done.stderr.rstrip(), err=True)
    return done.stdout
