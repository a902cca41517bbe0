"""The table of verbs. A verb's module is imported when it is called or when help is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

VERBS = {
    "serve": (
        "controlplane.cli.serve:serve",
        "Serve xDS to Envoys from a folder of YAML or from Kubernetes.",
    ),
    "demo": ("controlplane.cli.demo:demo", "Real Envoys and requests here, Weir beside stock."),
    "bench": (
        "controlplane.cli.bench:bench",
        "Policies against Envoy's own balancing, on real Envoys here.",
    ),
    "lab": ("controlplane.cli.lab:app", "Backends and load of the demo as single programs."),
    "weights": ("controlplane.cli.weights:app", "What was decided for a service, and why."),
    "status": (
        "controlplane.cli.object_status:status",
        "Gateways, routes and policies, and whether the Envoys have taken them.",
    ),
    "proxy-status": ("controlplane.cli.status:proxy_status", "Envoys, and what each runs."),
    "proxy-config": ("controlplane.cli.proxy_config:app", "What an Envoy runs."),
    "diff": ("controlplane.cli.diff:diff", "What an Envoy should run against what it runs."),
    "freeze": (
        "controlplane.cli.switch:freeze",
        "Hold all weights (or a service's) where they are.",
    ),
    "resume": ("controlplane.cli.switch:resume", "Let weights move again."),
    "validate": ("controlplane.cli.validate:app", "Check a folder of YAML, change nothing."),
    "x": ("controlplane.cli.explain_route:app", "How things come about: which route, and why."),
    "translate": (
        "controlplane.cli.translate:translate",
        "What each Envoy fleet will get, from a folder of YAML.",
    ),
    "analyze": ("controlplane.cli.analyze:analyze", "What is unwise in a folder or a cluster."),
    "policy": ("controlplane.cli.switch:app", "`freeze` and `resume` by another name."),
    "install": ("controlplane.cli.install:app", "Weir into a cluster, by its Helm chart."),
    "verify-install": (
        "controlplane.cli.verify:verify_install",
        "Whether the Weir of a cluster is whole, and what to do where it is not.",
    ),
    "dashboard": (
        "controlplane.cli.dashboard:app",
        "A way to Grafana, Prometheus or an Envoy of a cluster, in the browser.",
    ),
    "bug-report": (
        "controlplane.cli.report:bug_report",
        "One archive of what a bug report needs, without secrets.",
    ),
    "crds": ("controlplane.cli.crds:crds", "The CustomResourceDefinitions of Weir's own kinds."),
    "create": ("controlplane.cli.create:app", "Make an API key, and the hash of it."),
    "completion": ("controlplane.cli.completion:completion", "Completion for a shell."),
    "version": ("controlplane.cli.version:show", "Which Weir this is."),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A word that may stand where a shell asks, as typer wants it."""

    value: str
    help: str | None = None
    type: str = "plain"


class Verbs(TyperGroup):
    """Finds a verb by name and imports only its module."""

    plugin = False
    """Whether this is `kubectl weir`: then a cluster is meant where no address is given."""

    def list_commands(self, ctx: object) -> list[str]:
        """Ours, then those of other distributions."""
        others = entry_points(group="controlplane.commands").names
        return [*VERBS, *sorted(set(others) - set(VERBS))]

    def get_command(self, ctx: object, cmd_name: str) -> Any:  # noqa: ANN401 - typer's own type
        """The verb, or None."""
        if cmd_name in VERBS:
            where, summary = VERBS[cmd_name]
            module, _, name = where.partition(":")
            command = _command(getattr(import_module(module), name), cmd_name, summary)
            from controlplane.cli.reach import with_cluster  # not for help and completion of verbs

            with_cluster(command, self.plugin)
            return command
        for found in entry_points(group="controlplane.commands", name=cmd_name):
            return _command(found.load(), cmd_name, None)
        return None

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:  # noqa: ANN401
        """Verbs from the table, of which none is imported for this; else as any command has it."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        texts = {name: text for name, (_, text) in VERBS.items()}
        every = [Offer(name, texts.get(name)) for name in self.list_commands(ctx)]
        return [one for one in every if one.value.startswith(incomplete)]

    def format_commands(self, ctx: object, formatter: Any) -> None:  # noqa: ANN401
        """One line a verb: ours from the table, so that they need not be imported."""
        others = [
            (found.name, _summary(found))
            for found in entry_points(group="controlplane.commands")
            if found.name not in VERBS
        ]
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()] + others)


class PluginVerbs(Verbs):
    """The verbs of `kubectl weir`."""

    plugin = True


def _summary(found: EntryPoint) -> str:
    """The first line of what the verb says of itself; where it comes from if it cannot be had."""
    try:
        return str(found.load().__doc__).partition("\n")[0]
    except Exception:  # noqa: BLE001 - a verb of somebody else's must not break our help
        return f"(from {found.dist.name if found.dist else found.value})"


def _command(target: Any, name: str, summary: str | None) -> Any:  # noqa: ANN401
    app = target
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, short_help=summary)(target)
    command = get_command(app)
    command.name = name
    return command


def _tell(wanted: bool) -> None:
    if wanted:
        from controlplane.telemetry.version import version

        typer.echo(f"weir {version()}")
        raise typer.Exit


def build(plugin: bool = False) -> typer.Typer:
    """The root command; `plugin`: of `kubectl weir`."""
    root = typer.Typer(
        cls=PluginVerbs if plugin else Verbs,
        no_args_is_help=True,
        add_completion=True,  # what `weir completion` is made of
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )

    @root.callback()
    def weir(
        version: Annotated[
            bool,
            typer.Option("--version", is_eager=True, callback=_tell, help="Which Weir this is."),
        ] = False,
    ) -> None:
        """Weir: a control plane for Envoy that learns."""

    return root
