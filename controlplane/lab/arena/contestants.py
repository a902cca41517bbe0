"""Who plays: stock Envoys, and Weir with each of its policies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import ConfigurationError
from controlplane.lab.lanes import Lane, run_lane
from controlplane.lab.stock import CSWRR, FULL_SCAN, LEAST_REQUEST, ROUND_ROBIN, Balancing
from controlplane.lab.weir import WeirServe, run_weir_lane


@dataclass(frozen=True, slots=True)
class Contestant:
    """Either stock or a policy of Weir's."""

    name: str
    title: str
    stock: Balancing | None = None
    policy: str = ""
    actuation: str = "auto"
    orca: bool = False
    """Whether its backends say how busy they are."""


def _stock(balancing: Balancing, *, orca: bool = False) -> Contestant:
    return Contestant(balancing.name, balancing.title, stock=balancing, orca=orca)


REFERENCE = "full_scan"
"""The strongest that Envoy has on board, and what Weir's groups use inside: all are measured by it,
and it plays in every heat."""
CONTESTANTS = {
    one.name: one
    for one in (
        _stock(FULL_SCAN),
        _stock(LEAST_REQUEST),
        _stock(ROUND_ROBIN),
        _stock(CSWRR, orca=True),
        Contestant("pid", "PID for each endpoint", policy="pid", actuation="endpoints"),
        Contestant("model", "Weir, model", policy="model"),
        Contestant("learned", "Weir, learned", policy="learned"),
        Contestant("equal", "Weir, equal", policy="equal"),
        Contestant("pid_groups", "PID for each group", policy="pid"),
    )
}
USUAL = ("full_scan", "least_request", "round_robin", "cswrr", "pid", "model", "learned")


def contestant_named(name: str) -> Contestant:
    """The contestant of this name. Raises `ConfigurationError` that lists who there is."""
    if name not in CONTESTANTS:
        raise ConfigurationError(f"no contestant {name!r}; there are: {', '.join(CONTESTANTS)}")
    return CONTESTANTS[name]


@contextlib.asynccontextmanager
async def run_contestant(
    who: Contestant, ports: Sequence[int], folder: Path, *, envoys: int, changing: bool
) -> AsyncIterator[tuple[Lane, WeirServe | None]]:
    """Its Envoys, over the backends on these ports, and its `weir serve` if it has one."""
    own = folder / who.name
    own.mkdir()
    if who.stock is not None:
        async with run_lane(who.stock, ports, own, envoys=envoys, changing=changing) as lane:
            yield lane, None
        return
    async with run_weir_lane(
        ports,
        own,
        envoys=envoys,
        policy=who.policy,
        actuation=who.actuation,
        name=who.name.replace("_", "-"),
    ) as (lane, served):
        yield lane, served
