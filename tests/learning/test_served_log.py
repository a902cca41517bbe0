"""What the control loop wrote down is what is learned from, on a toy with a known optimum."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from controlplane.decide import Decider, Policies
from controlplane.decision_files import DecisionFiles
from controlplane.errors import WeirError
from controlplane.loop import Loop
from controlplane.model import (
    Endpoint,
    GuardSettings,
    Observation,
    Proposal,
    Service,
    ServiceName,
    Situation,
)
from controlplane.model.decisions import Head, Record
from controlplane.model.features import FEATURES
from controlplane.model.objective import Objective
from controlplane.model.observation import Floats
from controlplane.model.residual import BOUND, corrected
from controlplane.publisher import Publisher
from controlplane.resources import Declared
from controlplane.store import DecisionLog, Segments
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.translate import Translator
from policies.agents.network import PRESENT
from policies.agents.off_policy_evaluation import (
    beyond_the_log,
    doubly_robust,
    inverse_propensity,
)
from policies.agents.offline import OfflineLearner, log_density
from policies.agents.registry import algorithm
from policies.agents.settings import Settings
from policies.env.routing import best_split, mean_s, response_s
from policies.training.card import card
from policies.training.export import manifest
from policies.training.recipe import Recipe
from policies.training.served import learned_from, served
from policies.training.toy import LESSONS
from policies.training.train import train
from tests.fakes import MemoryStore, RecordingSink

pytestmark = pytest.mark.learning

EXPLORING = 0.14
LESSON = LESSONS["offline"]
GUARD = GuardSettings(max_share=1.0, max_share_of_two=1.0)


class ByCapacity:
    """The base of the toy, in the place of `model`: by the capacities that are declared."""

    name = "model"

    def propose(self, situations: Sequence[Situation]) -> Sequence[Proposal]:
        each = [(one, _capacities(one.service)) for one in situations]
        return [Proposal(one.grouping.total(c) / c.sum(), "model") for one, c in each]


def _capacities(service: Service) -> Floats:
    return np.array([endpoint.capacity for endpoint in service.endpoints], np.float64)


@dataclass
class Servers:
    """A `MetricSource` of M/M/1 servers, each a group of its own and always in equilibrium."""

    count: int
    seed: int
    exploration: float = EXPLORING
    now_s: float = 0.0
    services: list[Service] = field(default_factory=list)
    demand: dict[str, float] = field(default_factory=dict)
    shares: Mapping[ServiceName, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        for i in range(self.count):
            groups = int(self.random.integers(2, 4))
            fastest = self.random.uniform(1.5, 3.0)
            speed = np.exp(np.r_[0.0, 1.0, self.random.random(1)][:groups] * np.log(fastest))
            endpoints = tuple(
                Endpoint(
                    f"10.{self.seed}.{i}.{n + 1}",
                    80,
                    labels={"weir.dev/capacity": f"{100.0 * one:.6f}", "weir.dev/class": f"c{n}"},
                )
                for n, one in enumerate(speed)
            )
            name = ServiceName(f"toy/{self.seed}-{i}")
            self.services.append(
                Service(name, endpoints, policy="model", guard=GUARD, exploration=self.exploration)
            )
            load = self.random.uniform(0.5, 0.85)
            self.demand[name] = load * float(_capacities(self.services[-1]).sum())

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        return {one.name: self._look(one) for one in services}

    def _look(self, service: Service) -> Observation:
        capacity, n = _capacities(service), len(service.endpoints)
        rate = self.demand[service.name] * self.shares[service.name]
        latency = response_s(capacity[None], rate[None])[0]
        ended = rate * (1.0 + 0.001 * self.random.standard_normal(n))  # never the same twice
        return Observation(
            service=service.name,
            at_s=self.now_s,
            window_s=1.0,
            endpoints=tuple(endpoint.id for endpoint in service.endpoints),
            succeeded=ended,
            failed=np.zeros(n),
            in_flight=rate * latency,
            latency_s=latency,
            latency_p99_s=4.6 * latency,
            latency_samples=ended,
            utilisation=np.full(n, np.nan),
            age_s=np.zeros(n),
        )


async def log_of(folder: Path, servers: Servers, ticks: int) -> Loop:
    """The control loop as it serves, but for its clock, its source and what Envoys it has."""
    segments = Segments(folder, most_bytes=2**26, files=16, wall_clock=lambda: servers.now_s)
    log = DecisionLog(segments)
    loop = Loop(
        source=servers,
        decider=Decider(Policies({"model": lambda: ByCapacity}), seed=servers.seed),
        publisher=Publisher(Translator(), RecordingSink(), lambda percent: percent),
        store=MemoryStore(),
        switch=lambda: lambda name: None,
        clock=lambda: servers.now_s,
        wall_clock=lambda: servers.now_s,
        metrics=LoopMetrics(CollectorRegistry()),
        log=log,
    )
    await loop.declare(Declared(), servers.services)
    for _ in range(ticks):
        servers.shares = {name: verdict.shares for name, verdict in loop.verdicts().items()}
        servers.now_s += 1.0
        await loop.tick(loop.names())
    await log.close(60.0)
    assert (log.dropped, log.failures) == (0, 0)
    assert log.written == ticks * servers.count
    return loop


def recipe(steps: int = 100_000, **settings: float) -> Recipe:
    asked: Settings = replace(LESSON.settings, **settings)  # type: ignore[arg-type]
    return Recipe("served", steps, algorithm="offline", settings=asked, toy=LESSON.world)


def reached(records: Sequence[Record], actor: torch.nn.Module, servers: Servers) -> float:
    """Of the way from the base to the optimum: 1 is all of it."""
    ours, best = 0.0, 0.0
    known = {one.name: one for one in servers.services}
    for record in records:
        table = np.frombuffer(record.table, "<f4").reshape(1, -1, len(FEATURES))
        with torch.no_grad():
            moves = actor(torch.from_numpy(table.copy())).numpy()[0].clip(-1.0, 1.0)
        base = np.array(record.base)
        capacity = _capacities(known[ServiceName(record.service)])[None]
        demand = np.array([servers.demand[record.service]])
        shares = (corrected(base, BOUND * moves), base, best_split(capacity, demand)[0])
        took, as_base, least = (float(mean_s(capacity, demand, one[None])[0]) for one in shares)
        ours += np.log(took / as_base)
        best += np.log(least / as_base)
    return ours / best


TICKS, WITHIN = 70, 0.7
SERVED = Servers(40, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that the loop wrote."""
    folder = tmp_path_factory.mktemp("served")
    asyncio.run(log_of(folder, SERVED, TICKS))
    return folder


def copied(folder: Path, to: Path) -> Path:
    """The one file of a log, to be spoilt."""
    shutil.copytree(folder, to)
    (path,) = to.iterdir()
    return path


def test_the_optimum_is_found_in_what_the_loop_wrote_and_the_log_knows_it(
    folder: Path, tmp_path: Path
) -> None:
    found = served(folder, recipe())
    assert found.said["decisions"] == SERVED.count * (TICKS - 1)  # of the last nobody saw more
    assert found.said["left_out"] == {"without an outcome": SERVED.count}
    learner = algorithm("offline").learner(recipe(updates=300).settings, LESSON.world, 1)
    assert isinstance(learner, OfflineLearner)
    learner.take(found.log)
    told: list[Mapping[str, float]] = []
    learner.log_to(lambda _, losses: told.append(losses))
    learner.learn(1, lambda *_: None)
    unseen = Servers(30, 2, exploration=0.0)
    asyncio.run(log_of(tmp_path, unseen, ticks=4))
    last = list(DecisionFiles(tmp_path).records())[-unseen.count :]
    assert reached(last, learner.actor(), unseen) > WITHIN
    assert told[0]["off_policy_least"] > 0.0
    assert 200 < told[0]["effective_sample_size"] < told[0]["sample_size"]
    assert "beyond what was logged: +" in learned_from(found.said, told[0])


def test_what_the_log_says_of_the_policy_that_wrote_it_is_what_it_got(folder: Path) -> None:
    log = served(folder, recipe()).log
    again = log_density(log.actions, log.means, log.deviation, log.table[:, :, PRESENT])
    weights = (again - log.log_density).exp().double().numpy()
    np.testing.assert_allclose(weights, 1.0, atol=1e-4)
    returns = log.returns.double().numpy() + 3.0
    logged = returns.mean()
    assert inverse_propensity(weights, returns).value == pytest.approx(logged, rel=1e-4)
    model = np.random.default_rng(0).normal(size=len(returns))  # whatever it expects
    episode = log.episode.numpy()
    found = doubly_robust(weights, returns, model, model, episode)
    assert found.value == pytest.approx(logged, rel=1e-4)
    assert found.effective == pytest.approx(len(returns), rel=1e-4)
    assert beyond_the_log(weights, returns, model, model, episode).value == pytest.approx(
        0.0, abs=1e-3
    )


def test_one_log_gives_one_policy_and_the_release_says_which(folder: Path, tmp_path: Path) -> None:
    few = replace(recipe(updates=3), check_cases=2)
    first = train(few, logs=tmp_path, log=folder)
    again = train(few, logs=tmp_path, resume=True, log=folder)
    for a, b in zip(first.actor.parameters(), again.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.log == again.log
    assert first.log is not None
    assert first.log["digest"].startswith("sha256:")
    document = manifest(few, "sha256:0", "", {"step": 1, "steps": 1, "log": first.log}, {})
    assert f"{SERVED.count * (TICKS - 1)} decisions about {SERVED.count} services" in card(
        document, {}
    )
    with pytest.raises(WeirError, match="another log"):
        train(few, logs=tmp_path, resume=True)


def test_the_newest_decisions_are_kept_where_there_are_more_than_the_recipe_takes(
    folder: Path,
) -> None:
    found = served(folder, recipe(steps=1_000))
    assert 900 < found.said["decisions"] <= 1_000
    whole = served(folder, recipe()).log
    assert torch.equal(found.log.table[-1], whole.table[-1])


def test_what_says_nothing_of_a_decision_is_left_out_and_told(folder: Path, tmp_path: Path) -> None:
    """Of one service, of which a decision is changed in each of these ways."""
    records = list(DecisionFiles(folder).records())
    mine = [i for i, one in enumerate(records) if one.service == records[0].service]
    quiet = {"deviation": 0.0, "log_density": None}
    for i, changed in {
        mine[10]: {"reasons": ("frozen",)},
        mine[20]: {"bound": 0.5},
        mine[30]: quiet,
        mine[40]: {"outcome": replace(records[0].outcome, latency_s=None)},
        mine[50]: {"seen_s": records[mine[49]].decided_s - 0.1},
    }.items():
        records[i] = replace(records[i], **changed)  # type: ignore[arg-type]
    for i in mine[60:]:  # the process was started again
        one = records[i]
        assert one.seen_s is not None
        records[i] = replace(one, decided_s=one.decided_s - 50, seen_s=one.seen_s - 50)
    lines = [msgspec.json.encode(one) + b"\n" for one in (Head(), *records)]
    (tmp_path / "decisions-1.jsonl.open").write_bytes(b"".join(lines))
    assert served(tmp_path, recipe()).said["left_out"] == {
        "frozen": 1,
        "with another bound than 0.7": 1,
        "without an outcome": SERVED.count + 3,
        "without exploration": 1,
    }


def test_without_exploration_nothing_can_be_learned(tmp_path: Path) -> None:
    asyncio.run(log_of(tmp_path, Servers(3, 3, exploration=0.0), ticks=4))
    with pytest.raises(WeirError, match="nothing can be learned: every action is the policy's own"):
        served(tmp_path, recipe())


def test_a_log_that_is_too_small_is_refused(tmp_path: Path) -> None:
    asyncio.run(log_of(tmp_path, Servers(3, 3), ticks=4))
    with pytest.raises(WeirError, match=r"too small: 9 decisions .* in 3 episodes; wanted 400"):
        served(tmp_path, recipe())


def test_a_folder_without_a_log_and_goals_that_no_log_tells_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeirError, match="has no log of decisions"):
        served(tmp_path, recipe())
    tail = replace(recipe(), objective=Objective(latency_p99=0.5))
    with pytest.raises(WeirError, match="counts latency_p99, which a log"):
        served(folder, tail)
    even = replace(recipe(), objective=Objective(fairness_potential=0.5))
    with pytest.raises(WeirError, match="counts fairness_potential, which a log"):
        served(folder, even)
    with pytest.raises(WeirError, match="from a log learns `offline`"):
        train(LESSONS["ppo"].recipe("ppo", steps=64), log=folder)


def test_a_record_that_was_torn_is_skipped_where_the_file_was_never_closed(
    folder: Path, tmp_path: Path
) -> None:
    path = copied(folder, tmp_path / "torn")
    lines = path.read_bytes().splitlines(keepends=True)
    torn = path.with_name(path.name + ".open")
    torn.write_bytes(b"".join(lines[:-2]) + lines[-2][:-9])  # neither its last record nor an end
    path.unlink()
    files = DecisionFiles(torn.parent)
    assert len(list(files.records())) == len(lines) - 3
    assert files.torn == 1
    torn.rename(path)
    with pytest.raises(WeirError, match=rf"{path.name}, line {len(lines) - 1}: damaged"):
        list(DecisionFiles(path.parent).records())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.replace(b'"coverage":1.0', b'"coverage":0.5', 1), "its checksum is not"),
        (lambda t: b"".join(t.splitlines(keepends=True)[:-1]), "its end is missing"),
        (lambda t: t.replace(b'"service":"toy', b'"service":[], "', 1), r"line \d+: damaged"),
        (lambda t: t + b"{}\n", "there is something after its end"),
        (lambda t: t.replace(b'"version":1', b'"version":2', 1), "reads 'weir.decisions', version"),
        (
            lambda t: t.replace(b'"latency",', b'"delay",', 1),
            r"other features .*\(delay, lat",
        ),
        (lambda t: t.replace(b'"log_density":', b'"log_density":1', 1), "has a propensity that is"),
        (lambda t: b"\x80" + t, "it does not begin as a log of decisions"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(
    folder: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str
) -> None:
    path = copied(folder, tmp_path / "spoilt")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(WeirError, match=words):
        served(path.parent, recipe())
