"""`weir lab`: parts of the demo as programs of their own, where it is played on many machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
import uvloop

from controlplane.errors import ConfigurationError
from controlplane.settings import Address

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def lab() -> None:
    """Backends that take as long as they are asked to, and requests for them."""


@app.command()
def backend(
    listen: Annotated[str, typer.Option(help="HOST:PORT to serve HTTP/1.1 at.")] = "127.0.0.1:8080",
    workers: Annotated[int, typer.Option(min=1, help="Requests that it serves at a time.")] = 4,
    speed: Annotated[float, typer.Option(help="A request's work takes work / speed.")] = 1.0,
    slow_by: Annotated[
        float, typer.Option(help="Now and then it takes so many times as long. 1: never.")
    ] = 1.0,
    slow_every_s: Annotated[float, typer.Option(help="How often.")] = 240.0,
    slow_for_s: Annotated[float, typer.Option(help="For how long.")] = 60.0,
) -> None:
    """One backend. `GET /80000` takes 80 ms of work; it says how busy it is (ORCA)."""
    from controlplane.lab.backend_process import Spells, alone
    from controlplane.lab.backends import BackendSpec

    address = Address.parse(listen)
    try:
        spec = BackendSpec(workers, speed)
        spells = Spells(slow_every_s, slow_for_s, slow_by) if slow_by != 1.0 else None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    uvloop.run(alone(address.host, address.port, spec, spells))


@app.command()
def load(
    target: Annotated[list[str], typer.Option(help="HOST:PORT of an Envoy; repeatable.")],
    rate: Annotated[float, typer.Option(help="Requests a second, over all targets.")] = 100.0,
    minutes: Annotated[int | None, typer.Option(min=1, help="None: until it is stopped.")] = None,
) -> None:
    """Open-loop requests of 80 ms of work; a line of JSON each minute."""
    from controlplane.lab.schedule import WorkMix
    from controlplane.lab.traffic import traffic

    for one in target:
        Address.parse(one)

    async def run() -> None:
        async for minute in traffic(target, rate, WorkMix(), rounds=minutes):
            typer.echo(json.dumps(asdict(minute)))

    uvloop.run(run())
