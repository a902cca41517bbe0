"""`weir verify-install`: whether the Weir of a cluster is whole, and what to do where it is not.

One module looks at one thing and tells what it saw as `Check`s; what cannot be looked at is a check
as well, so that silence never means that all is well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from controlplane.cli.admin import ControlPlane
from controlplane.cli.installed import LEASE, SYSTEM, find
from controlplane.cli.kubectl import ClusterError, Kubectl
from controlplane.cli.output import Output, console
from controlplane.cli.reach import ContextOption, KubeconfigOption, WeirNamespaceOption, opened
from controlplane.cli.verify.check import Check, State, fail, warn
from controlplane.errors import WeirError
from controlplane.kubernetes.resource import Resource

_STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


def verify_install(
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    weir_namespace: WeirNamespaceOption = None,
    days: Annotated[
        float, typer.Option(min=0.0, help="Tell of certificates that end within so many days.")
    ] = 30.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="A warning is a failure of this command too.")
    ] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="table or json.")] = Output.TABLE,
) -> None:
    """Look at the Weir of a cluster: Kubernetes, definitions, Deployment, Lease, permissions,
    webhook, replicas, certificates, Envoys, and what became of what is declared.

    Exit status 1 when something does not work; 0 where it does, with --strict only if there is
    nothing to warn of either.
    """
    now = datetime.datetime.now(datetime.UTC)
    found = list(checks(Kubectl(context, kubeconfig), weir_namespace, now, days))
    if output is Output.JSON:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found]))
    else:
        lines = console()
        for one in found:
            style = _STYLES[one.state]
            lines.print(f"[{style}]{one.state:<4}[/] ", end="")
            lines.print(f"{one.name}: {one.message}", highlight=False, markup=False)
            if one.advice:
                lines.print(f"       {one.advice}", highlight=False, markup=False)
    bad = (State.FAIL, State.WARN) if strict else (State.FAIL,)
    if any(one.state in bad for one in found):
        raise typer.Exit(1)


def checks(
    kubectl: Kubectl, weir_namespace: str | None, now: datetime.datetime, days: float
) -> Iterator[Check]:
    """Everything, in the order of causes. Raises `ClusterError` where the cluster does not answer.

    `now` with a time zone; certificates that end within `days` are told of.
    """
    from controlplane.cli.verify import cluster, webhook, workload  # much comes with them

    yield cluster.version(kubectl)
    there = cluster.resources(kubectl)
    yield from looked("definitions", cluster.checks(kubectl, there))
    try:
        installed = find(kubectl, weir_namespace)
        home, pods = installed.namespace, installed.pods
    except ClusterError as error:
        yield fail("pods", str(error), "weir install")
        home, pods = weir_namespace or SYSTEM, ()
    yield from looked("deployment", _deployments(kubectl, there, home))
    yield from workload.restarts([one.document for one in pods], home)
    held = _lease(kubectl, home)
    if not isinstance(held, Check):
        held = workload.lease(held, [one.name for one in pods], now, home)
    yield held
    yield from looked("webhook", webhook.checks(kubectl, home, now, days))
    if pods:
        yield from _running(kubectl, home, now, days)


def looked(name: str, found: Iterator[Check]) -> Iterator[Check]:
    """What a look shows, or that it cannot be had."""
    try:
        yield from found
    except ClusterError as error:
        yield warn(name, f"could not be looked at: {error}", "")


def _deployments(kubectl: Kubectl, there: Mapping[str, Resource], home: str) -> Iterator[Check]:
    """Each that serves, and whether its service account may do what it does."""
    from controlplane.cli.verify import access, workload

    made = workload.find(kubectl, home)
    yield from workload.deployment(made, home)
    for one in made:
        spec = one["spec"]["template"]["spec"]
        rights = [*access.needed(there, _options(spec), home)]
        account = spec.get("serviceAccountName") or "default"
        yield access.check(kubectl, account, home, rights)


def _running(kubectl: Kubectl, home: str, now: datetime.datetime, days: float) -> Iterator[Check]:
    from controlplane.cli.verify import running
    from controlplane.telemetry.version import version

    with contextlib.ExitStack() as closing:
        try:
            weir = closing.enter_context(opened(kubectl, home, ControlPlane()))
        except WeirError as error:
            yield fail("ready", f"no way to any replica: {error}", "")
            return
        yield from running.checks(weir, version(), now, days)


def _lease(kubectl: Kubectl, home: str) -> dict[str, Any] | Check | None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{home}/leases/{LEASE}"
    try:
        return dict(kubectl.get(path))
    except ClusterError as error:
        if error.missing:
            return None
        return warn("lease", f"could not be looked at: {error}", "")


def _options(spec: dict[str, Any]) -> dict[str, str]:
    """What `weir serve` is started with."""
    words = (word for one in spec.get("containers") or () for word in one.get("args") or ())
    return {name: value for name, _, value in (word.partition("=") for word in words)}
