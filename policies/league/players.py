"""Who plays: Envoy's own balancing, baselines, a bound that nobody can reach, released policies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from controlplane.errors import PolicyLoadError
from controlplane.model import Actuation
from policies.env.stages import Stages
from policies.simulator import Algorithm


class Kind(StrEnum):
    """What a player is to a user."""

    STOCK = "stock"
    """In Envoy's release binary, by configuration alone."""
    CONTRIB = "contrib"
    """In a build of Envoy with its contrib extensions."""
    BASELINE = "baseline"
    """A controller of weights without learning."""
    RELEASED = "released"
    """A policy that was trained and released."""
    BOUND = "bound"
    """Knows what no data path can."""


@dataclass(frozen=True, slots=True)
class Player:
    """How a case is balanced."""

    name: str
    what: str
    kind: Kind
    algorithm: Algorithm = Algorithm.FULL_SCAN
    policy: str | None = None
    """Who moves the weights; None: nobody."""
    actuation: Actuation = Actuation.AUTO
    release: Path | None = None
    """The folder of a released policy that is not the installed one of this name."""

    def document(self) -> dict[str, str]:
        """For JSON."""
        return {"name": self.name, "what": self.what, "kind": self.kind.value}


FULL_SCAN, P2C, BOUND, MODEL, PID = "full_scan", "p2c", "least_work", "model", "pid"
"""Names that others are measured by."""

_STOCK = (
    Player("round_robin", "ROUND_ROBIN", Kind.STOCK, Algorithm.ROUND_ROBIN),
    Player(P2C, "LEAST_REQUEST, two choices (default)", Kind.STOCK, Algorithm.LEAST_REQUEST),
    Player(FULL_SCAN, "LEAST_REQUEST, FULL_SCAN", Kind.STOCK, Algorithm.FULL_SCAN),
    Player("random", "RANDOM", Kind.STOCK, Algorithm.RANDOM),
    Player("cswrr", "CSWRR (ORCA)", Kind.STOCK, Algorithm.CSWRR),
    Player("ring_hash", "RING_HASH", Kind.STOCK, Algorithm.RING_HASH),
    Player("maglev", "MAGLEV", Kind.STOCK, Algorithm.MAGLEV),
)
_OTHERS = (
    Player("peak_ewma", "Peak EWMA (contrib)", Kind.CONTRIB, Algorithm.PEAK_EWMA),
    Player(
        "pid_round_robin", "PID, ROUND_ROBIN", Kind.BASELINE, Algorithm.ROUND_ROBIN,
        "pid", Actuation.ENDPOINTS,
    ),
    Player(
        PID, "PID, LEAST_REQUEST", Kind.BASELINE, Algorithm.LEAST_REQUEST,
        "pid", Actuation.ENDPOINTS,
    ),
    Player("capacity", "capacity, FULL_SCAN", Kind.BASELINE, policy="capacity"),
    Player(MODEL, "queueing model, FULL_SCAN", Kind.BASELINE, policy="model"),
    Player(BOUND, "least work left (omniscient)", Kind.BOUND, Algorithm.LEAST_WORK),
)  # fmt: skip


def released(name: str, folder: Path | None = None) -> Player:
    """A released policy; `folder` None: the one that is installed under this name."""
    return Player(name, f"{name} (released)", Kind.RELEASED, policy=name, release=folder)


def installed() -> tuple[Player, ...]:
    """Every released policy that an installed distribution offers."""
    return tuple(released(name) for name in sorted(entry_points(group="controlplane.models").names))


def everybody(releases: Sequence[Player] | None = None) -> tuple[Player, ...]:
    """All of them. `releases`: instead of the installed ones."""
    playing = (*_STOCK, *_OTHERS, *(installed() if releases is None else releases))
    names = [one.name for one in playing]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two players are called {', '.join(twice)}: rename the folder of one")
    return playing


def those(names: Sequence[str], releases: Sequence[Player] = ()) -> tuple[Player, ...]:
    """Players by name, in this order."""
    known = {one.name: one for one in everybody(releases)}
    return tuple(known[name] for name in names)


def registry(stages: Stages, players: Sequence[Player]) -> Any:  # noqa: ANN401 - decide's own
    """The policies of these players. What cannot be loaded is refused here, in its own words."""
    points = {point.name: point for point in entry_points(group="controlplane.policies")}
    makers = {name: point.load for name, point in points.items()}
    for player in players:
        if player.kind is Kind.RELEASED and (player.release or player.name not in makers):
            learned = points["learned"].load()
            makers[player.name] = partial(partial, learned, folder=folder_of(player))
    policies = stages.decide.Policies(makers)
    for player in players:
        if player.policy is not None:
            policies.get(player.policy)
    return policies


def folder_of(player: Player) -> Path:
    """Where a released policy is."""
    if player.release is not None:
        return player.release
    for point in entry_points(group="controlplane.models", name=player.name):
        return Path(point.load()())
    raise PolicyLoadError(f"no installed distribution offers a released policy {player.name!r}")


def digest_of(player: Player) -> str:
    """That of the model which a released policy plays with, as its manifest writes it."""
    model = (folder_of(player) / "model.onnx").read_bytes()
    return "sha256:" + hashlib.sha256(model).hexdigest()


def releases(players: Sequence[Player]) -> dict[str, str]:
    """The digest of each that is released, for results to say."""
    return {one.name: digest_of(one) for one in players if one.kind is Kind.RELEASED}
