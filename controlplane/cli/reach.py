"""The way to a control plane in a cluster, for every verb that asks one.

A verb takes a `ControlPlane` and knows of no cluster. `with_cluster` gives its command the options
that kubectl has, and where one of them is given (or in `kubectl weir`, unless an address is) opens
a forward to the admin port of each replica for as long as the verb runs.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from typer.main import get_command

from controlplane.cli import names
from controlplane.cli.admin import ControlPlane, Replica
from controlplane.cli.installed import find
from controlplane.cli.kubectl import FORWARD_S, ClusterError, Kubectl, forwarded

ContextOption = Annotated[
    str | None,
    typer.Option("--context", help="A context of the kubeconfig.", autocompletion=names.contexts),
]
KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", help="How kubectl reaches the cluster.")
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Objects of this namespace; names that say none are in it.",
        autocompletion=names.namespaces,
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="Objects of every namespace. [the default]")
]
WeirNamespaceOption = Annotated[
    str | None,
    typer.Option(
        "--weir-namespace",
        envvar="WEIR_SYSTEM_NAMESPACE",
        help="Where Weir itself is. [found by its labels]",
        autocompletion=names.namespaces,
    ),
]


@dataclass(frozen=True, slots=True)
class Wish:
    """Which cluster, and what of it."""

    kubectl: Kubectl
    weir_namespace: str | None
    namespace: str | None
    given: bool
    """Whether any option says that it is a cluster."""

    @classmethod
    def taken(cls, params: dict[str, Any]) -> Wish:
        """From what a command was given, out of which it is taken."""
        context, kubeconfig = params.pop("context", None), params.pop("kubeconfig", None)
        weir_namespace = params.pop("weir_namespace", None)
        namespace = params.pop("namespace", None)
        if params.pop("all_namespaces", False):
            namespace = None
        given = any((context, kubeconfig, weir_namespace))
        return cls(Kubectl(context, kubeconfig), weir_namespace, namespace, given)


@contextlib.contextmanager
def reached(
    wish: Wish, weir: ControlPlane, plugin: bool, deadline_s: float = FORWARD_S
) -> Iterator[ControlPlane]:
    """Whom to ask, for as long as the block runs. Raises `ClusterError`.

    `plugin`: a cluster is what is meant unless an address is given.
    """
    weir = replace(weir, namespace=wish.namespace)
    if not wish.given and (weir.given or not plugin):
        yield weir
        return
    weir = replace(weir, names_in=wish.kubectl.namespace())
    with opened(wish.kubectl, wish.weir_namespace, weir, deadline_s) as found:
        yield found


@contextlib.contextmanager
def opened(
    kubectl: Kubectl,
    weir_namespace: str | None,
    weir: ControlPlane,
    deadline_s: float = FORWARD_S,
) -> Iterator[ControlPlane]:
    """The same with ways to all replicas of a cluster that can be reached. Raises `ClusterError`
    where none can."""
    installed = find(kubectl, weir_namespace)
    ports = [(one.namespace, one.name, one.admin_port) for one in installed.pods]
    with forwarded(kubectl, ports, deadline_s) as ways:
        deadline = weir.replicas[0].deadline_s
        replicas = tuple(
            Replica(way, one.full, deadline)
            for one, way in zip(installed.pods, ways, strict=True)
            if isinstance(way, str)
        )
        if not replicas:
            raise ways[0] if isinstance(ways[0], ClusterError) else ClusterError("no way to it")
        left_out = tuple(
            f"pod {one.full} is left out: {way}"
            for one, way in zip(installed.pods, ways, strict=True)
            if isinstance(way, ClusterError)
        )
        for words in left_out:
            typer.echo(f"weir: {words}", err=True)
        yield replace(weir, replicas=replicas, left_out=left_out)


def in_plugin(ctx: typer.Context) -> bool:
    """Whether this is `kubectl weir`."""
    return bool(getattr(ctx.find_root().command, "plugin", False))


def with_cluster(command: Any, plugin: bool) -> None:  # noqa: ANN401 (of typer)
    """Give a command, or those below it, the options of a cluster, if it asks a control plane."""
    for below in getattr(command, "commands", {}).values():
        with_cluster(below, plugin)
    if not any(one.name == "weir" for one in command.params):
        return
    command.params += get_command(_template()).params
    verb = command.callback

    @functools.wraps(verb)
    def through(**params: Any) -> Any:  # noqa: ANN401
        wish = Wish.taken(params)
        with reached(wish, params["weir"], plugin) as weir:
            return verb(**{**params, "weir": weir})

    command.callback = through


@contextlib.contextmanager
def completing(
    params: Mapping[str, Any], plugin: bool, deadline_s: float
) -> Iterator[ControlPlane]:
    """Whom to ask while a name is completed: sooner, or not at all. Raises `WeirError`."""
    given = dict(params)
    wish = Wish.taken(given)
    quick = replace(wish, kubectl=replace(wish.kubectl, call_s=deadline_s))
    weir = given.get("weir") or ControlPlane()
    patient = tuple(replace(one, deadline_s=deadline_s) for one in weir.replicas)
    with reached(quick, replace(weir, replicas=patient), plugin, deadline_s) as found:
        yield found


def _template() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def of_cluster(
        context: ContextOption = None,
        kubeconfig: KubeconfigOption = None,
        namespace: NamespaceOption = None,
        all_namespaces: AllOption = False,
        weir_namespace: WeirNamespaceOption = None,
    ) -> None: ...

    return app
