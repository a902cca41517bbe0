"""A training run: a recipe in, the best policy that it met and its learning curve out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

import policies.agents
from controlplane import checkout, decision_files
from controlplane.errors import WeirError
from policies import fingerprint
from policies.agents.registry import Begins, Learner, LearnsMore, TakesLog, algorithm
from policies.agents.repeat import chance, restore_chance
from policies.env.episodes import BOUND, World
from policies.env.simulated import Simulated
from policies.env.spread import Spread
from policies.training import checkpoint
from policies.training.read_back import network_of
from policies.training.recipe import Recipe
from policies.training.served import served
from policies.training.start import Start
from policies.training.watch import VALIDATION_SEED, Point, Progress, Update, Watch, filled

CHECKPOINT, TRAINED, CURVE = "checkpoint.npz", "trained.npz", "curve.json"
"""Files of a run: to go on from, what came of it, and its curve to read."""
CHECKPOINT_S = 30.0
"""At least between two checkpoints: what a run that is killed loses."""
_LIBRARIES = ("numpy", "torch", "stable-baselines3", "sb3-contrib")
_DECIDING = ("recipe.py", "toy.py", "watch.py", "served.py", "read_back.py")
"""Modules of this package that decide what a run gives; the others begin runs and show them."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run."""

    recipe: Recipe
    actor: nn.Module
    step: int
    ratio: float
    commit: str
    """Of the code that trained, when the run began (`controlplane.checkout`)."""
    curve: list[Point] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    log: Mapping[str, Any] | None = None
    """What it learned from, where that was a log of decisions that were served."""


def train(
    recipe: Recipe,
    *,
    logs: Path | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
    workers: Sequence[Executor] = (),
    log: Path | None = None,
    first_counts: bool = True,
) -> Trained:
    """Run the recipe. Deterministic: one thread, one seed; workers only play (`env.spread`).

    `log`: a folder of decisions that were served, for an algorithm that learns from a log; without
    it the simulator gives one. `first_counts`: as `Watch` has it; runs with and without it need
    `logs` of their own.

    Where there are `logs`, the run leaves a checkpoint there at most every `checkpoint_s`, in place
    of the one before. With `resume` it goes on from that, if there is one, and ends with the same
    weights, bit for bit, as if it had never been broken off; what has ended is not run again.
    WeirError where the checkpoint is that of another recipe, of other code or of other versions of
    the libraries.
    """
    commit = checkout.commit()
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
    world, checks = (_spread(one, workers) for one in (recipe.world, recipe.checks))
    learner = algorithm(recipe.algorithm).learner(recipe.settings, world, recipe.seed)
    if recipe.start is not None:
        _begin(learner, recipe.start, recipe.name)
    told = None if log is None else _served(log, recipe, learner)
    by = made_by(recipe, told)
    if logs is not None and resume and (logs / TRAINED).exists():
        return _read(recipe, learner, logs, told, by)
    validation = checks.episodes(recipe.check_cases, VALIDATION_SEED)
    watch = Watch(recipe, validation, progress, logs, first_counts=first_counts)
    learner.log_to(watch.updated)
    saver = None if logs is None else _Saver(by, commit, learner, watch, logs, checkpoint_s)
    if saver is not None:
        saver.go_on() if resume else saver.begin_anew()
        commit = saver.commit
    if recipe.start is not None:
        watch.begun(learner.actor())
    learner.learn(recipe.steps, watch.rolled, *(() if saver is None else (saver.between,)))
    best = watch.ended(learner.actor())
    trained = Trained(
        recipe, best.actor, best.step, best.ratio, commit, watch.curve, watch.updates, told
    )
    if logs is not None:
        _write(trained, logs, by, learner.beside() if isinstance(learner, LearnsMore) else {})
    return trained


def _spread(world: World, workers: Sequence[Executor]) -> World:
    return Spread(world, tuple(workers)) if workers and isinstance(world, Simulated) else world


class _Saver:
    """Leaves checkpoints of a run, which change nothing of it, and goes on from one."""

    def __init__(
        self,
        made_by: Mapping[str, str],
        commit: str,
        learner: Learner,
        watch: Watch,
        logs: Path,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.commit = commit
        """When the run began."""
        self._learner, self._watch = learner, watch
        self._path, self._made_by = logs / CHECKPOINT, made_by
        self._every_s, self._clock = every_s, clock
        self._saved_s = clock()

    def between(self) -> None:
        """Between two episodes: if it is time, save."""
        if self._clock() - self._saved_s < self._every_s:
            return
        state = {
            "made by": self._made_by,
            "commit": self.commit,
            "learner": self._learner.state(),
            "watch": self._watch.state(),
            "chance": chance(),
        }
        checkpoint.save(self._path, state)
        self._saved_s = self._clock()

    def begin_anew(self) -> None:
        """Nothing of an earlier run is to be taken for this one's."""
        for name in (CHECKPOINT, TRAINED):
            self._path.with_name(name).unlink(missing_ok=True)

    def go_on(self) -> None:
        """From the checkpoint, if there is one."""
        if not self._path.exists():
            return
        state = checkpoint.load(self._path)
        same(state["made by"], self._made_by, self._path)
        self.commit = state["commit"]
        self._learner.restore(state["learner"])
        self._watch.restore(state["watch"], self._learner.blank)
        restore_chance(state["chance"])  # last: what comes before may draw


def _begin(learner: Learner, start: Start, name: str) -> None:
    """As the release. WeirError where that is not at hand."""
    if start.model is None:
        raise WeirError(
            f"{name} began as {start.release}, which a manifest tells of and does not hold: name "
            "the release in a recipe, as an installed policy or as a folder"
        )
    assert isinstance(learner, Begins)  # as the registry says
    learner.begin(network_of(start.model, BOUND, start.release).actor)


def _served(folder: Path, recipe: Recipe, learner: Learner) -> Mapping[str, Any]:
    """Let it learn from this log; what the log is."""
    if not isinstance(learner, TakesLog):
        raise WeirError(f"{recipe.algorithm} plays to learn; from a log learns `offline`")
    found = served(folder, recipe)
    learner.take(found.log)
    return found.said


def made_by(recipe: Recipe, log: Mapping[str, Any] | None = None) -> dict[str, str]:
    """All that decides what a run gives."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {
        "recipe": json.dumps(recipe.document()),
        "world": repr(recipe.toy),
        "code": code(),
        "log": "" if log is None else str(log["digest"]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        **versions,
    }


def key(recipe: Recipe) -> str:
    """A name for the folder of a run, of all that decides what it gives."""
    return hashlib.sha256(json.dumps(made_by(recipe)).encode()).hexdigest()[:12]


@cache
def code() -> str:
    """Of the code that trains, when this process first asked: what is changed while it trains is
    not what trains."""
    here = Path(__file__).parent
    agents = Path(str(policies.agents.__file__)).parent
    logs = Path(str(decision_files.__file__))
    return fingerprint.code(agents, logs, *(here / name for name in _DECIDING))


def same(before: Mapping[str, str], now: Mapping[str, str], path: Path) -> None:
    """WeirError names what is not as it was."""
    other = [name for name in now if before.get(name, "") != now[name]]
    if other:
        said = ("other code" if name == "code" else f"another {name}" for name in other)
        raise WeirError(
            f"{path} was made with {', '.join(said)}: it would not end as a run that was never "
            "broken off; begin anew without --resume, or elsewhere"
        )


def _write(trained: Trained, logs: Path, by: Mapping[str, str], beside: Mapping[str, Any]) -> None:
    """Last, at once, what came of it; then nothing is left to go on from."""
    curve = [asdict(point) for point in trained.curve]
    (logs / CURVE).write_text(json.dumps(curve, indent=1) + "\n")
    document = {
        "made by": by,
        "commit": trained.commit,
        "actor": trained.actor.state_dict(),
        "beside": beside,
        "step": trained.step,
        "ratio": trained.ratio,
        "curve": [tuple(point.values()) for point in curve],
        "updates": [(update.step, dict(update.losses)) for update in trained.updates],
    }
    checkpoint.save(logs / TRAINED, document)
    (logs / CHECKPOINT).unlink(missing_ok=True)


def _read(
    recipe: Recipe,
    learner: Learner,
    logs: Path,
    log: Mapping[str, Any] | None,
    by: Mapping[str, str],
) -> Trained:
    document: dict[str, Any] = checkpoint.load(logs / TRAINED)
    same(document["made by"], by, logs / TRAINED)
    return Trained(
        recipe,
        filled(learner.blank, document["actor"]).eval(),
        document["step"],
        document["ratio"],
        document["commit"],
        [Point(*point) for point in document["curve"]],
        [Update(*update) for update in document["updates"]],
        log,
    )
