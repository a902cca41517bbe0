"""`weir freeze` and `weir resume`: the kill switch.

With `--state-dir` the switch is set in the folder itself, which works while the control plane is
down or does not answer; otherwise over the admin address.
"""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.admin import DEFAULT_ADMIN, AdminOption, ask
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
        KillSwitch(state_dir).freeze(reason, user, name or ALL)
    else:
        ask(admin_address, "/v1/freeze", {"service": name, "reason": reason, "by": user})
    typer.echo(f"{name or 'all services'}: frozen; `weir resume` lets go again")


def resume(
    service: ServiceArgument = None,
    admin_address: AdminOption = DEFAULT_ADMIN,
    state_dir: StateOption = None,
) -> None:
    """Let the weights of a service, or of all, move again."""
    name = _full(service)
    if state_dir is None:
        ask(admin_address, "/v1/resume", {"service": name})
    elif not KillSwitch(state_dir).resume(name or ALL):
        raise WeirError(f"{name or 'nothing'} is not frozen in {state_dir}")
    typer.echo(f"{name or 'all services'}: resumed")


def _full(service: str | None) -> ServiceName | None:
    if service is None:
        return None
    return ServiceName(service if "/" in service else f"default/{service}")
