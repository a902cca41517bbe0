"""A recipe says all that a training run depends on: the same recipe gives the same policy."""

# ruff: noqa: ANN401 - YAML gives anything
from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from controlplane.errors import ConfigurationError
from controlplane.model.objective import Objective
from policies.agents.registry import ALGORITHMS, algorithm
from policies.agents.settings import Ppo, Settings, TeamPpo
from policies.env.curriculum import Stage
from policies.env.draw import Draw
from policies.env.episodes import World
from policies.env.fitted import FittedDraw
from policies.env.simulated import Simulated
from policies.env.simulated_machines import SimulatedMachines
from policies.env.simulated_regions import SimulatedRegions
from policies.simulator import FAMILIES, HELD_OUT_SEEDS
from policies.simulator.fitted import Fitted, read
from policies.training.start import Start, at_hand, told

FOLDER = Path(__file__).parent / "recipes"
MODEL, LEAST_TIME = "model", "leastTime"
OWN, SHARED, ENVOYS = "own", "shared", "envoys"
SEEDS = 2**32
"""What torch and numpy take for a seed is below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A stage of a curriculum: for a part of the steps some of what is drawn is another."""

    until: float
    """Where it ends, as a part of all steps."""
    families: Mapping[str, float] | None = None
    endpoints: tuple[int, ...] | None = None
    proxies: tuple[int, ...] | None = None
    load: tuple[float, float] | None = None

    def of(self, scenarios: Draw) -> Draw:
        """The recipe's, with what this lesson has instead."""
        names = ("families", "endpoints", "proxies", "load")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(scenarios, **given)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, on what, for how long."""

    name: str
    steps: int
    seed: int = 1
    seeds: tuple[int, ...] = ()
    """Where there are some, there is a run with each instead of one with `seed`."""
    algorithm: str = "ppo"
    base: str = MODEL
    """What the residual is on: the split inside a service (`model`), or between its regions
    (`leastTime`), whose agents are a team."""
    machines: str = OWN
    """Who the agents of a team are: services with machines of their `own`; services that all run
    on the same (`shared`), each rewarded for its own requests; or the `envoys` of one service, each
    with a split of its own, by what it sees alone."""
    scenarios: Draw = field(default_factory=Draw)
    curriculum: tuple[Lesson, ...] = ()
    """Lessons in turn; after the last, and for all checks, the scenarios are as above."""
    start: Start | None = None
    """The release that it begins as; None: as its base, with a network that knows nothing."""
    objective: Objective = field(default_factory=Objective)
    """What a BalancingPolicy can ask for, here with the names of `controlplane.model.objective`."""
    settings: Settings = field(default_factory=Ppo)
    """Hyperparameters; in YAML under the name of the algorithm."""
    check_every: int = 8
    """Rollouts between two checks on the validation cases; the best policy of all is kept."""
    check_cases: int = 48
    toy: World | None = None
    """Where it learns instead of on the simulator. Not for YAML."""

    def __post_init__(self) -> None:
        self._check_numbers()
        if not isinstance(self.settings, algorithm(self.algorithm).settings):
            raise ValueError(f"the settings are not those of {self.algorithm}")
        if self.base not in (MODEL, LEAST_TIME):
            raise ValueError(f"base {self.base!r}: the residual is on {MODEL} or {LEAST_TIME}")
        self._check_machines()
        if self.base == LEAST_TIME and not isinstance(self.settings, TeamPpo):
            raise ValueError(
                f"base {LEAST_TIME}: regions are a team, for which {self.algorithm} is not"
            )
        if self.start is not None:
            if not algorithm(self.algorithm).begins:
                able = " and ".join(name for name, one in ALGORITHMS.items() if one.begins)
                raise ValueError(f"start: {able} can begin as a release, {self.algorithm} cannot")
            self.start.check(self.settings)
        if self.curriculum and not (self.base == MODEL and self.machines == OWN):
            raise ValueError("curriculum: lessons are for services with machines of their own")
        if isinstance(self.scenarios, FittedDraw) and not (
            self.base == MODEL and self.machines == OWN
        ):
            raise ValueError(
                f"fitted: these are services of one region with machines of their own, for base "
                f"{MODEL} and machines {OWN}"
            )
        ends = [0.0, *(lesson.until for lesson in self.curriculum), 1.0]
        if any(end <= begin for begin, end in itertools.pairwise(ends)):
            raise ValueError("curriculum: wanted lessons until ever later parts of 0 to 1")
        unknown = {name for draw in self.draws for name in draw.families} - set(FAMILIES)
        if unknown:
            raise ValueError(f"no families {', '.join(sorted(unknown))}")
        self.settings.check(self.world.steps)

    def _check_machines(self) -> None:
        if self.machines not in (OWN, SHARED, ENVOYS):
            wanted = f"wanted {OWN}, {SHARED} or {ENVOYS}"
            raise ValueError(f"machines: {wanted}, got {self.machines!r}")
        if self.machines == OWN:
            return
        if self.base != MODEL:
            raise ValueError(f"machines {self.machines}: the base there is {MODEL} alone")
        if not isinstance(self.settings, TeamPpo):
            raise ValueError(
                f"machines {self.machines}: {self.algorithm} has no team to share them"
            )
        if self.machines == ENVOYS and self.scenarios.proxies != (self.settings.agents,):
            raise ValueError(
                f"machines {ENVOYS}: each agent is an Envoy, so that `proxies` of the scenarios is "
                f"[{self.settings.agents}], not {list(self.scenarios.proxies)}"
            )

    def _check_numbers(self) -> None:
        for name in ("steps", "check_every", "check_cases"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: wanted at least 1, got {getattr(self, name)}")
        if not all(0 <= seed < SEEDS for seed in (self.seed, *self.seeds)):
            raise ValueError(f"seed: wanted 0 to {SEEDS - 1}")
        if self.scenarios.seeds[1] > HELD_OUT_SEEDS:
            raise ValueError(
                f"scenarios: seeds from {HELD_OUT_SEEDS} on are kept for releases and the league"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: one is there twice: {self.seeds}")

    def runs(self) -> list[Recipe]:
        """The same with one seed each."""
        return [replace(self, seed=seed, seeds=()) for seed in self.seeds or (self.seed,)]

    @property
    def draws(self) -> tuple[Draw, ...]:
        """All that it learns from: the scenarios, and those of the lessons."""
        return (self.scenarios, *(lesson.of(self.scenarios) for lesson in self.curriculum))

    @property
    def world(self) -> World:
        """Where it learns."""
        if self.toy is not None:
            return self.toy
        agents = self.settings.agents if isinstance(self.settings, TeamPpo) else 1
        if self.base == LEAST_TIME:
            return SimulatedRegions(self.scenarios, agents, self.objective, self.settings.discount)
        if self.machines != OWN:
            return SimulatedMachines(
                self.scenarios,
                agents,
                alike=self.machines == ENVOYS,
                objective=self.objective,
                discount=self.settings.discount,
            )
        stages = tuple(
            Stage(round(lesson.until * self.steps), lesson.of(self.scenarios))
            for lesson in self.curriculum
        )
        return Simulated(self.scenarios, self.objective, self.settings.discount, stages)

    @property
    def checks(self) -> World:
        """Where it is checked: without a curriculum, so that checks can be compared."""
        return replace(self, curriculum=()).world

    def document(self) -> dict[str, Any]:
        """As it would be written in YAML, with all defaults."""
        document = asdict(replace(self, start=None))
        document[self.algorithm] = document.pop("settings")
        del document["toy"], document["start"]
        if self.start is not None:
            document["start"] = self.start.document()
        if isinstance(self.scenarios, FittedDraw):
            each = zip(document["scenarios"]["fitted"], self.scenarios.fitted, strict=True)
            for said, one in each:
                said["digest"] = one.digest
        if not self.seeds:
            del document["seeds"]
        return document


def load(path: Path) -> Recipe:
    """The recipe in a YAML file."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: wanted a mapping")
    if isinstance(document.get("start"), dict):
        raise ConfigurationError(f"{path}: start: wanted an installed policy or a folder")
    try:
        return of_document(document, path.parent)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def of_document(document: Mapping[str, Any], folder: Path = Path()) -> Recipe:
    """The recipe that a document says, as in YAML and in the manifest of a release. TypeError or
    ValueError where it is none. Files that it names are looked for from `folder` on."""
    parts: dict[str, Any] = dict(document)
    if "toy" in parts or "settings" in parts:
        raise ValueError("no field toy or settings: hyperparameters are under their algorithm")
    if "scenarios" in parts:
        parts["scenarios"] = _scenarios(parts["scenarios"], folder)
    if "curriculum" in parts:
        parts["curriculum"] = [_made(Lesson, lesson) for lesson in parts["curriculum"]]
    if parts.get("start") is not None:
        given, base = parts["start"], parts.get("base", MODEL)
        of_manifest = isinstance(given, Mapping)
        parts["start"] = told(given) if of_manifest else at_hand(given, folder, base)
    if "objective" in parts:
        parts["objective"] = _made(Objective, parts["objective"])
    name = parts.get("algorithm", "ppo")
    parts["settings"] = _made(algorithm(name).settings, parts.pop(name, {}))
    recipe: Recipe = _made(Recipe, parts)
    return recipe


def _scenarios(document: Any, folder: Path) -> Draw:
    """What is drawn: families, unless there are fitted services and no families beside them."""
    _known(FittedDraw, document, "draw")
    if "fitted" not in document:
        draw: Draw = _made(Draw, document)
        return draw
    given = document["fitted"]
    each = [given] if isinstance(given, str) else given
    if not isinstance(each, list | tuple):
        raise ValueError(
            f"fitted: wanted a file of `weir sim calibrate --to`, or a list of them, got {given!r}"
        )
    fitted = [_fitted(one, folder) for one in each]
    both: Draw = _made(FittedDraw, {"families": {}, **document, "fitted": fitted})
    return both


def _fitted(given: Any, folder: Path) -> Fitted:
    """From the name of a file; or from `scenario`, which is one or the content of one, with
    `odds`. The `digest` that a manifest has beside a content has to be that of it."""
    parts = {"scenario": given} if isinstance(given, str) else given
    if not isinstance(parts, dict) or "scenario" not in parts:
        raise ValueError(f"fitted: wanted a file, or a mapping with a scenario, got {given!r}")
    parts = dict(parts)
    digest = parts.pop("digest", None)
    if isinstance(parts["scenario"], str):
        parts["scenario"] = read(folder / parts["scenario"])
    fitted: Fitted = _made(Fitted, parts)
    if digest not in (None, fitted.digest):
        raise ValueError(f"fitted: {fitted.name} has the digest {fitted.digest}, not {digest}")
    return fitted


def _known(kind: Any, document: Any, called: str) -> None:
    if not isinstance(document, dict):
        raise ValueError(f"wanted a mapping for {called}, got {document!r}")
    known = {one.name for one in fields(kind)}
    unknown = {str(one) for one in document} - known
    if unknown:
        raise ValueError(
            f"no field {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )


def _made(kind: Any, document: Any) -> Any:
    _known(kind, document, kind.__name__.lower())
    hints = get_type_hints(kind)
    return kind(**{name: _read(value, hints[name], name) for name, value in document.items()})


def _read(value: Any, hint: Any, name: str) -> Any:
    """A value of YAML as that of a field; ValueError where it is of another kind."""
    if hint is float and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)  # YAML 1.1 takes 1e-4 for text
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        parts = get_args(hint)
        each = [parts[0]] * len(value) if parts[-1] is ... else parts
        if len(each) != len(value):
            raise ValueError(f"{name}: wanted {len(each)} values, got {value!r}")
        return tuple(_read(one, kind, name) for one, kind in zip(value, each, strict=True))
    if get_origin(hint) is Mapping and isinstance(value, Mapping):
        keys, values = get_args(hint)
        if values is Any:
            return value
        return {_read(k, keys, name): _read(v, values, name) for k, v in value.items()}
    if get_origin(hint) is UnionType:
        return None if value is None else _read(value, get_args(hint)[0], name)
    wanted = (int, float) if hint is float else get_origin(hint) or hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{name}: wanted {_called(hint)}, got {value!r}")
    return value


def _called(hint: Any) -> str:
    """A type in words."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    kinds = {tuple: "a list", Mapping: "a mapping"}
    return names.get(hint) or kinds.get(get_origin(hint)) or str(hint.__name__).lower()
