"""`weir freeze` and `weir resume`: the kill switch.

With `--state-dir` the switch is set in the folder itself, which works while the control plane is
down or does not answer; otherwise over the admin address.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, Replica, Unreachable, WeirOption
from controlplane.errors import WeirError
from controlplane.model import ServiceName
from controlplane.store import ALL, KillSwitch

ServiceArgument = Annotated[
    str | None,
    typer.Argument(
        help="namespace/name, or name in `default`; none means all.",
        autocompletion=names.services,
    ),
]
StateOption = Annotated[
    Path | None, typer.Option(help="Set it in this state folder instead of over the address.")
]


app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def policy() -> None:
    """Whether policies may move weights."""


@app.command()
def freeze(
    service: ServiceArgument = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="For whoever asks later.")] = "",
    weir: WeirOption = HERE,
    state_dir: StateOption = None,
) -> None:
    """Hold the weights of a service, or of all, where they are, until `weir resume`."""
    name, user = _full(weir, service), getpass.getuser()
    if state_dir is not None:
        _switch(state_dir).freeze(reason, user, name or ALL)
        if name is not None:
            typer.echo(f"whether there is a service {name} is not looked up in a folder", err=True)
    else:
        for one in weir.replicas:  # any of them may be the next that decides
            _ask(one, "/v1/freeze", {"service": name, "reason": reason, "by": user})
    again = f"weir resume {name}" if name else "weir resume"
    typer.echo(f"{name or 'all services'}: frozen; `{again}` lets go again")


@app.command()
def resume(
    service: ServiceArgument = None,
    weir: WeirOption = HERE,
    state_dir: StateOption = None,
) -> None:
    """Let the weights of a service, or of all, move again."""
    name = _full(weir, service)
    if state_dir is None:
        held = _resume(weir, name)
    else:
        held = list(_switch(state_dir).let_go(name or ALL))
    typer.echo(f"{name or 'all services'}: resumed")
    if held:
        typer.echo(f"still frozen: {', '.join(held)}; `weir resume NAME` for each of them")


def _switch(state_dir: Path) -> KillSwitch:
    if not state_dir.is_dir():
        raise WeirError(
            f"no state folder {state_dir}: it is `.weir` in the folder of documents, unless "
            "`weir serve` was given another --state-dir"
        )
    inner = state_dir / ".weir"
    if inner.is_dir() or any(one.suffix in (".yaml", ".yml") for one in state_dir.iterdir()):
        raise WeirError(
            f"{state_dir} is a folder of documents, where no Weir looks for its switch; its state "
            f"folder is {inner} unless `weir serve` was given another --state-dir"
        )
    return KillSwitch(state_dir)


def _resume(weir: ControlPlane, name: ServiceName | None) -> list[str]:
    """What is still frozen. One replica may hold what another, started since, knows nothing of."""
    held, errors = set[str](), list[WeirError]()
    for one in weir.replicas:
        try:
            held |= set(_ask(one, "/v1/resume", {"service": name})["still_frozen"])
        except Unreachable:
            raise
        except WeirError as error:
            errors.append(error)
    if len(errors) == len(weir.replicas):
        raise errors[0]
    return sorted(held)


def _ask(replica: Replica, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
    try:
        return replica.ask(path, body)
    except Unreachable as error:
        raise WeirError(
            f"{error} Where it does not answer, set the switch in its state folder by --state-dir, "
            "which is `.weir` in the folder of documents unless said otherwise"
        ) from error


def _full(weir: ControlPlane, service: str | None) -> ServiceName | None:
    return None if service is None else ServiceName(weir.full(service))
