"""`weir freeze` and `weir resume`: the kill switch.

With `--state-dir` the switch is set in the folder itself, which works while the control plane is
down or does not answer; otherwise over the admin address.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.admin import DEFAULT_ADMIN, AdminOption, Unreachable, ask
from controlplane.errors import WeirError
from controlplane.model import ServiceName
from controlplane.store import ALL, KillSwitch

ServiceArgument = Annotated[
    str | None, typer.Argument(help="namespace/name, or name in `default`; none means all.")
]
StateOption = Annotated[
    Path | None, typer.Option(help="Set it in this state folder instead of over the address.")
]


def freeze(
    service: ServiceArgument = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="For whoever asks later.")] = "",
    admin_address: AdminOption = DEFAULT_ADMIN,
    state_dir: StateOption = None,
) -> None:
    """Hold the weights of a service, or of all, where they are, until `weir resume`."""
    name, user = _full(service), getpass.getuser()
    if state_dir is not None:
        _switch(state_dir).freeze(reason, user, name or ALL)
        if name is not None:
            typer.echo(f"whether there is a service {name} is not looked up in a folder", err=True)
    else:
        _ask(admin_address, "/v1/freeze", {"service": name, "reason": reason, "by": user})
    again = f"weir resume {name}" if name else "weir resume"
    typer.echo(f"{name or 'all services'}: frozen; `{again}` lets go again")


def resume(
    service: ServiceArgument = None,
    admin_address: AdminOption = DEFAULT_ADMIN,
    state_dir: StateOption = None,
) -> None:
    """Let the weights of a service, or of all, move again."""
    name = _full(service)
    if state_dir is None:
        held = _ask(admin_address, "/v1/resume", {"service": name})["still_frozen"]
    else:
        held = _switch(state_dir).let_go(name or ALL)
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


def _ask(address: str, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
    try:
        return ask(address, path, body)
    except Unreachable as error:
        raise WeirError(
            f"{error} Where it does not answer, set the switch in its state folder by --state-dir, "
            "which is `.weir` in the folder of documents unless said otherwise"
        ) from error


def _full(service: str | None) -> ServiceName | None:
    if service is None:
        return None
    return ServiceName(service if "/" in service else f"default/{service}")
