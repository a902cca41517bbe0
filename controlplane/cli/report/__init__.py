"""`weir bug-report`: one archive of what a report of a fault needs, and nothing that is secret.

Documents are cut down to what is listed as harmless (`allowed`); whatever is written goes through
`scrub`, which knows the values of all Secrets that can be read here, and what secrets look like.
"""

from __future__ import annotations

import contextlib
import datetime
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.admin import HERE, ControlPlane, WeirOption
from controlplane.cli.installed import SYSTEM, find
from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.output import Detailed, OutputOption, tell
from controlplane.cli.reach import (
    ContextOption,
    KubeconfigOption,
    WeirNamespaceOption,
    in_plugin,
    opened,
)
from controlplane.cli.report import cluster, folder, running
from controlplane.cli.report.plan import Bounds, Part, listed, write
from controlplane.cli.report.scrub import Scrubber, known_of
from controlplane.errors import WeirError
from controlplane.telemetry.version import version

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Logs:
    """How much of them."""

    bytes: int
    since_s: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is to take, and what must not be in it."""

    parts: tuple[Part, ...]
    scrubber: Scrubber


def bug_report(
    ctx: typer.Context,
    documents: Annotated[
        Path | None,
        typer.Option("--filename", "-f", help="Folder of documents. [that of the running Weir]"),
    ] = None,
    log: Annotated[
        list[Path] | None, typer.Option("--log", metavar="FILE", help="Its log; repeatable.")
    ] = None,
    address: WeirOption = HERE,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    weir_namespace: WeirNamespaceOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The archive. [weir-bug-report-TIME.tar.gz here]")
    ] = None,
    since_s: Annotated[
        int, typer.Option(min=1, max=2_592_000, help="Seconds that logs go back, in a cluster.")
    ] = 86_400,
    log_mib: Annotated[int, typer.Option(min=1, max=8, help="MiB of each log, its end.")] = 2,
    most_mib: Annotated[
        int, typer.Option(min=1, max=1024, help="MiB of the whole before it is compressed.")
    ] = 100,
    deadline_s: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="Seconds that this may take.")
    ] = 300.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be taken, and take nothing.")
    ] = False,
    output: OutputOption = Detailed.TABLE,
) -> None:
    """Gather versions, settings, objects, statuses, events, logs, metrics, decisions, and what the
    Envoys run, into one archive, without secrets.

    Of Secrets and ConfigMaps only names are taken, of all else no text but those known to be
    harmless; keys, tokens and passwords are taken out of logs. Look through it before it is given
    to others: what people put into names and messages is still there. What could not be had is in
    left-out.json. With --context, --kubeconfig, --weir-namespace, or as `kubectl weir`, it is of
    the Weir of a cluster.
    """
    started_s = time.monotonic()
    now = datetime.datetime.now(datetime.UTC)
    logs = Logs(log_mib * _MIB, since_s)
    named = any((context, kubeconfig, weir_namespace))
    of_cluster = named or (in_plugin(ctx) and not address.given and documents is None)
    with contextlib.ExitStack() as closing:
        if of_cluster:
            kubectl = Kubectl(context, kubeconfig, ends_s=started_s + deadline_s)
            found = closing.enter_context(_of_cluster(kubectl, weir_namespace, logs, dry_run))
        else:
            found = _of_here(address, documents, log or (), logs)
        if dry_run:
            _list(found.parts, output)
            return
        name = f"weir-bug-report-{now:%Y%m%dT%H%M%SZ}"
        target = to or Path(f"{name}.tar.gz")
        bounds = Bounds(most_mib * _MIB, started_s + deadline_s)
        try:
            left_out = write(
                target,
                name,
                found.parts,
                found.scrubber,
                bounds,
                clock=time.monotonic,
                epoch_s=int(now.timestamp()),
            )
        except OSError as error:
            raise WeirError(f"{target}: {error.strerror}") from error
    if output is not Detailed.TABLE:
        told = {"archive": str(target), "parts": len(found.parts), "left_out": left_out}
        tell(told, output)
        return
    typer.echo(f"{target}: {len(found.parts) - len(left_out)} of {len(found.parts)} parts")
    for path, why in left_out.items():
        typer.echo(f"left out: {path}: {found.scrubber.text(why)}", err=True)
    typer.echo("Look through it before you give it to others.")


def _list(parts: Iterable[Part], output: Detailed) -> None:
    every = list(listed(parts))
    if output is not Detailed.TABLE:
        tell(every, output)
        return
    for one in every:
        typer.echo(f"{one['path']}: {one['what']}")


def _client(programs: Iterable[str]) -> Part:
    def read() -> dict[str, Any]:
        return {
            "weir": version(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "programs": {one: shutil.which(one) is not None for one in programs},
        }

    return Part("client.json", "the version of this weir, and of what it runs on", read)


@contextlib.contextmanager
def _of_cluster(
    kubectl: Kubectl, weir_namespace: str | None, logs: Logs, dry_run: bool
) -> Iterator[Gathered]:
    """Of a cluster, as much of it as can be reached. `dry_run`: no Secret is read."""
    kubectl.get("/version")  # whether anybody is there at all
    troubles: dict[str, str] = {}
    installed = None
    try:
        installed = find(kubectl, weir_namespace)
    except ClusterError as error:
        troubles["pods"] = str(error)
    home = installed.namespace if installed else weir_namespace or SYSTEM
    known = list[str]()
    try:
        known = [] if dry_run else list(known_of(cluster.secrets(kubectl, home)))
    except ClusterError as error:
        troubles["secrets"] = f"{error}; what is in them is known by its looks alone"
    parts = [_client(("kubectl", "helm"))]
    parts += cluster.parts(kubectl, home, installed, logs.bytes, logs.since_s)
    with contextlib.ExitStack() as closing:
        if installed is not None:
            try:
                weir = closing.enter_context(opened(kubectl, home, ControlPlane()))
                parts += running.parts(weir)
            except WeirError as error:
                troubles["replicas"] = str(error)
        parts.append(Part("troubles.json", "what could not be reached at all", lambda: troubles))
        yield Gathered(tuple(parts), Scrubber(known))


def _of_here(
    address: ControlPlane, documents: Path | None, files: Iterable[Path], logs: Logs
) -> Gathered:
    """Of a Weir that serves a folder, running or not."""
    parts = [_client(("envoy",))]
    parts += running.parts(address)
    source = documents or _served(address)
    known = list[str]()
    if source is not None:
        known = list(folder.known(source))
        parts += folder.documents(source)
    parts += [folder.log(one, logs.bytes) for one in files]
    return Gathered(tuple(parts), Scrubber(known))


def _served(address: ControlPlane) -> Path | None:
    """The folder that the running Weir serves, where it is one of this machine."""
    try:
        config = address.ask("/v1/about")["settings"].get("config")
    except (WeirError, KeyError, TypeError, AttributeError):
        return None
    return Path(config) if config and Path(config).is_dir() else None
