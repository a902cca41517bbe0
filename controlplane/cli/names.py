"""Names for the shell to complete: asked of the running control plane, or of the cluster.

What cannot be had soon is not offered, in silence: a shell that waits, or prints an error into the
line that somebody types, is worse than one that completes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

from controlplane.cli.admin import ControlPlane
from controlplane.errors import WeirError

HERE_S = 1.0
"""An address is to answer within this."""
CLUSTER_S = 3.0
"""The way into a cluster is to be there within this, and each answer."""
ENVOYS = "weir.dev/envoy=true"
"""Label of the pods in which they are."""


def services(ctx: typer.Context, incomplete: str) -> list[str]:
    """Services, as `namespace/name`."""

    def every(weir: ControlPlane) -> Iterable[str]:
        return filter(weir.has, (one["service"] for one in weir.ask("/v1/services")))

    return _asked(ctx, incomplete, every)


def envoys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Connected Envoys, by their node.id."""

    def nodes(weir: ControlPlane) -> Iterable[str]:
        every = (one for answer in weir.each("/v1/proxies") for one in answer)
        return (one["node"] for one in every if weir.has(one["fleet"]))

    return _asked(ctx, incomplete, nodes)


def fleets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Gateways, which are fleets of Envoys."""

    def gateways(weir: ControlPlane) -> Iterable[str]:
        found = (one["name"] for one in weir.ask("/v1/status") if one["kind"] == "Gateway")
        return filter(weir.has, found)

    return _asked(ctx, incomplete, gateways)


def objects(ctx: typer.Context, incomplete: str) -> list[str]:
    """Gateways, routes and policies, as `namespace/name`."""

    def every(weir: ControlPlane) -> Iterable[str]:
        return filter(weir.has, (one["name"] for one in weir.ask("/v1/status")))

    return _asked(ctx, incomplete, every)


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Of the cluster."""
    return _kubectl(ctx, incomplete, "get", "namespaces", "-o", "name")


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Of the kubeconfig."""
    return _kubectl(ctx, incomplete, "config", "get-contexts", "-o", "name")


def envoy_pods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Pods of Envoys, as `namespace/name`, or by their names in a namespace that is given."""
    namespace = ctx.params.get("namespace")
    where = ("-n", namespace) if namespace else ("-A",)
    name = "{.metadata.name}" if namespace else "{.metadata.namespace}/{.metadata.name}"
    shown = f'jsonpath={{range .items[*]}}{name}{{"\\n"}}{{end}}'
    return _words(ctx, incomplete, "get", "pods", *where, "-l", ENVOYS, "-o", shown)


def _asked(
    ctx: typer.Context, incomplete: str, listed: Callable[[ControlPlane], Iterable[str]]
) -> list[str]:
    from controlplane.cli.reach import completing, in_plugin

    plugin = in_plugin(ctx)
    named = ctx.params.get("context") or ctx.params.get("kubeconfig")
    try:
        within_s = CLUSTER_S if plugin or named else HERE_S
        with completing(ctx.params, plugin, within_s) as weir:
            return _matching(listed(weir), incomplete)
    except (WeirError, KeyError, TypeError):
        return []


def _kubectl(ctx: typer.Context, incomplete: str, *arguments: str) -> list[str]:
    """Names of which kubectl says the kind, too."""
    said = _words(ctx, "", *arguments)
    return _matching((one.rpartition("/")[2] for one in said), incomplete)


def _words(ctx: typer.Context, incomplete: str, *arguments: str) -> list[str]:
    from controlplane.cli.kubectl import Kubectl

    try:
        here = Kubectl(ctx.params.get("context"), ctx.params.get("kubeconfig"), CLUSTER_S)
        said = here.run(*arguments).decode(errors="replace").split()
    except WeirError:
        return []
    return _matching(said, incomplete)


def _matching(found: Iterable[str], incomplete: str) -> list[str]:
    return sorted({one for one in found if one.startswith(incomplete)})
