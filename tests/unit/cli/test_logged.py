"""`weir weights explain --from`: what the loop wrote down is explained as the loop would have."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from controlplane.api.attributions import attributions
from controlplane.cli.logged import when
from controlplane.cli.root import build
from controlplane.decide import Decider, Policies
from controlplane.decide.learned import Learned, released
from controlplane.decide.queueing import QueueingModel
from controlplane.errors import ConfigurationError, WeirError
from controlplane.loop import Loop
from controlplane.model import Endpoint, Observation, Service, ServiceName
from controlplane.publisher import Publisher
from controlplane.resources import Declared
from controlplane.store import DecisionLog, Segments
from controlplane.telemetry.metrics import LoopMetrics
from controlplane.translate import Translator
from tests.fakes import MemoryStore, RecordingSink, look
from tests.unit.decide.test_learned import change_manifest

T0 = 1_700_000_000.0
TICKS = 6


@dataclass
class Unlike:
    """A `MetricSource` of services whose second class is slower, by chance never twice the same."""

    now_s: float = 0.0
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    async def observe(self, services: Sequence[Service]) -> Mapping[ServiceName, Observation]:
        return {one.name: self._look(one) for one in services}

    def _look(self, of: Service) -> Observation:
        slow = np.array([1.0, 1.0, 4.0, 4.0])
        rate = np.round(self.random.uniform(60.0, 90.0, 4) / np.sqrt(slow))
        latency = 0.02 * slow * self.random.uniform(0.9, 1.1, 4)
        return look(
            of, self.now_s, succeeded=rate.tolist(), latency_samples=rate.tolist(),
            latency_s=latency.tolist(), latency_p99_s=(3.0 * latency).tolist(),
            in_flight=(rate * latency).tolist(),
        )  # fmt: skip


def a_service(name: str, policy: str, exploration: float = 0.0) -> Service:
    endpoints = tuple(
        Endpoint(f"10.0.0.{i + 1}", 80, labels={"weir.dev/class": "fast" if i < 2 else "slow"})
        for i in range(4)
    )
    return Service(ServiceName(name), endpoints, policy=policy, exploration=exploration)


SERVICES = (
    a_service("default/web", "learned"),
    a_service("shop/cart", "learned", exploration=0.1),
    a_service("default/plain", "model"),
)
Told = dict[tuple[str, int], dict[str, Any]]


async def log_of(folder: Path) -> Told:
    """A log by the loop and the writer that serve; what the loop says of each decision itself."""
    source = Unlike()
    segments = Segments(folder, most_bytes=2**24, files=16, wall_clock=lambda: T0 + source.now_s)
    log = DecisionLog(segments)
    decider = Decider(Policies.installed(), seed=1)
    loop = Loop(
        source=source,
        decider=decider,
        publisher=Publisher(Translator(), RecordingSink(), lambda percent: percent),
        store=MemoryStore(),
        switch=lambda: lambda name: None,
        clock=lambda: source.now_s,
        wall_clock=lambda: T0 + source.now_s,
        metrics=LoopMetrics(CollectorRegistry()),
        log=log,
    )
    await loop.declare(Declared(), SERVICES)
    told: Told = {}
    for tick in range(1, TICKS + 1):
        source.now_s = float(tick)
        await loop.tick(loop.names())
        for one in SERVICES[:2]:
            known = loop.known(one.name)
            assert known is not None
            assert known.decision is not None
            told[one.name, tick] = attributions("learned", decider.attribute(known.decision))
    await log.close(60.0)
    assert log.written == TICKS * len(SERVICES)
    return told


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    folder = tmp_path_factory.mktemp("decisions")
    return folder, asyncio.run(log_of(folder))


def explain(*args: str | Path) -> Any:  # noqa: ANN401 - of click
    words = ("weights", "explain", *(str(one) for one in args))
    return CliRunner().invoke(build(), list(words))


def refused(*args: str | Path) -> str:
    done = explain(*args)
    assert isinstance(done.exception, WeirError), done.output
    return str(done.exception)


@pytest.mark.parametrize(
    ("service", "at", "tick"),
    [
        ("web", None, 6),
        ("web", "2023-11-14T22:13:23Z", 3),
        ("web", "2023-11-14T23:13:23.9+01:00", 3),
        ("shop/cart", "2023-11-14T22:13:21Z", 1),
        ("web", "0", 6),
    ],
)
def test_a_decision_is_explained_as_it_was_when_it_was_made(
    logged: tuple[Path, Told], service: str, at: str | None, tick: int
) -> None:
    folder, told = logged
    options = () if at is None else ("--at", at)
    done = explain(service, "--attributions", "--from", folder, *options, "-o", "json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    name = service if "/" in service else f"default/{service}"
    assert document["service"] == name
    assert document["at"] == f"2023-11-14T22:13:2{tick}.000Z"
    assert document["attributions"] == told[name, tick]
    moved = [abs(one["moved"]) for one in document["attributions"]["groups"]]
    assert max(moved) > 1e-3
    for one, group in zip(document["attributions"]["groups"], document["groups"], strict=True):
        assert one["group"] == group["group"]
        if not document["explores"]:
            factor = group["proposed"] / group["base"]
            assert np.log(factor) == pytest.approx(one["moved"], abs=1e-4)


def test_another_decision_has_another_explanation(logged: tuple[Path, Told]) -> None:
    """The test above can fail: ticks and services differ."""
    _, told = logged
    assert len({json.dumps(one) for one in told.values()}) == len(told)


def test_people_read_the_same(logged: tuple[Path, Told]) -> None:
    folder, _ = logged
    done = explain("cart", "-n", "shop", "--attributions", "--from", folder)
    assert done.exit_code == 0, done.output
    assert "shop/cart: decided at 2023-11-14T22:13:26.000Z by learned (sha256:" in done.stdout
    assert "note: explores with a deviation of 0.1" in done.stdout
    assert "of the base's share" in done.stdout
    assert "in force" in done.stdout


def test_a_formula_has_none_and_that_is_said(logged: tuple[Path, Told]) -> None:
    folder, _ = logged
    done = explain("plain", "--attributions", "--from", folder, "-o", "json")
    assert done.exit_code == 0, done.output
    assert "'model' is a formula" in json.loads(done.stdout)["attributions"]["why_not"]


def test_what_is_not_in_the_log_is_said(logged: tuple[Path, Told], tmp_path: Path) -> None:
    folder, _ = logged
    for args, words in (
        (("nobody", "--from", folder), "no decision about default/nobody; it has default/plain, d"),
        (("web", "--from", folder, "--at", "2023-11-14T22:13:20Z"), "the first is of 2023-11-14T2"),
        (("web", "--from", tmp_path), "has no log of decisions"),
        (("web", "--from", folder, "--at", "yesterday"), "wanted a time as 2026-01-31T12:00:00Z"),
        (("web", "--at", "3"), "name it with --from"),
    ):
        assert words in refused(*args, "--attributions")
    assert "add --attributions" in refused("web", "--from", folder)


def test_another_release_than_the_one_that_decided_is_refused(
    logged: tuple[Path, Told], tmp_path: Path
) -> None:
    """In words that name both, and what to do; its own folder explains it."""
    folder, told = logged
    log = tmp_path / "log"
    shutil.copytree(folder, log)
    (path,) = log.iterdir()
    ours = Learned(QueueingModel()).release.digest
    other = "sha256:" + "0" * 64
    lines = path.read_bytes().replace(ours.encode(), other.encode()).splitlines(keepends=True)
    path.unlink()
    path.with_name(path.name + ".open").write_bytes(b"".join(lines[:-1]))  # as if it never ended
    words = refused("web", "--attributions", "--from", log)
    for one in (other, ours, str(released("learned")), "--model-dir", "--at"):
        assert one in words
    mine = tmp_path / "mine"
    shutil.copytree(released("learned"), mine)
    done = explain("web", "--attributions", "--from", folder, "--model-dir", mine, "-o", "json")
    assert json.loads(done.stdout)["attributions"] == told["default/web", TICKS]
    change_manifest(mine, bound=-1.0)
    assert "bound" in refused("web", "--attributions", "--from", folder, "--model-dir", mine)


def test_a_policy_that_is_gone_is_said_to_be(logged: tuple[Path, Told], tmp_path: Path) -> None:
    folder, _ = logged
    (path,) = folder.iterdir()
    head, *lines = path.read_bytes().splitlines()
    (line, *_) = (one for one in lines if b"default/web" in one)
    record = msgspec.json.decode(line) | {"policy": "mine"}
    whole = b"\n".join((head, msgspec.json.encode(record), b""))
    (tmp_path / (path.name + ".open")).write_bytes(whole)
    assert "no policy 'mine' is installed" in refused("web", "--attributions", "--from", tmp_path)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "2026-01-31T12:00:00", "soon", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="wanted"):
        when(text, T0)
