"""`weir freeze` and `weir resume`: the kill switch.

With `--state-dir` the switch is set in the folder itself, which works while the control plane is
down or does not answer; otherwise over the admin address.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli import names
from controlplane.cli.admin import HERE, ControlPlane, Replica, Unreachable, WeirOption
from controlplane.errors import StoreError, WeirError
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
    name, user = _full(weir, service), _person()
    what = name or "all services"
    if state_dir is not None:
        try:
            _switch(state_dir).freeze(reason, user, name or ALL)
        except StoreError as error:  # its words are of a process that serves
            raise WeirError(f"{what}: NOT frozen: {error.__cause__}") from error
        if name is not None:
            typer.echo(f"whether there is a service {name} is not looked up in a folder", err=True)
    else:
        _freeze(weir, what, {"service": name, "reason": reason, "by": user})
    again = f"weir resume {name}" if name else "weir resume"
    typer.echo(f"{what}: frozen; `{again}` lets go again")


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


def _freeze(weir: ControlPlane, what: str, body: dict[str, Any]) -> None:
    """At every replica that can be asked, whatever is wrong with another: any of them may be the
    next that decides."""
    errors = list[WeirError]()
    for one in weir.replicas:
        try:
            _ask(one, "/v1/freeze", body)
        except WeirError as error:
            errors.append(error)
    _require_all(weir, f"{what}: frozen", errors)


def _resume(weir: ControlPlane, name: ServiceName | None) -> list[str]:
    """What is still frozen. One replica may hold what another, started since, knows nothing of."""
    held, lost, errors = set[str](), list[WeirError](), list[WeirError]()
    for one in weir.replicas:
        try:
            held |= set(_ask(one, "/v1/resume", {"service": name})["still_frozen"])
        except WeirError as error:
            errors.append(error)
            if isinstance(error.__cause__, Unreachable):
                lost.append(error)
    if len(errors) == len(weir.replicas):
        raise errors[0]
    _require_all(weir, f"{name or 'all services'}: resumed", lost)
    return sorted(held)


def _require_all(weir: ControlPlane, done: str, errors: Sequence[WeirError]) -> None:
    """Raises `WeirError` that says where it was done and where it was not."""
    replicas, why = len(weir.replicas) + len(weir.left_out), [*map(str, errors), *weir.left_out]
    if len(errors) == replicas == 1:
        raise errors[0]
    if why:
        raise WeirError(f"{done} at {replicas - len(why)} of {replicas} replicas. {'; '.join(why)}")


def _person() -> str:
    """Who says so. In a container a user may have a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


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
