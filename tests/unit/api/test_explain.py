"""Why: one document for machines, and the same for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from controlplane import guard
from controlplane.api.explain import explain
from controlplane.cli.weights import show
from controlplane.decide.queueing import QueueingModel
from controlplane.model import Situation
from tests.unit.decide.worlds import World, known, situation

CAPACITY = np.array([80.0, 80.0, 20.0, 20.0])


def told(asked: Situation) -> dict[str, object]:
    proposal = QueueingModel().propose([asked])[0]
    verdict, _ = guard.check(asked, proposal, None, now_s=asked.observation.at_s + 0.4)
    document = explain(asked, proposal, verdict, asked.observation.at_s + 0.4)
    return dict(json.loads(json.dumps(document, allow_nan=False)))


def watched() -> Situation:
    world = World(CAPACITY)
    estimate = world.watched(20)
    look = world.look(0.7 * CAPACITY)
    asked = situation(estimate.fold(look), [0, 0, 1, 1])
    return replace(asked, observation=look)


def printed(document: dict[str, object]) -> str:
    out = StringIO()
    show(document, Console(file=out, width=160))
    return out.getvalue()


def column(document: dict[str, object], table: str, name: str) -> list[float]:
    rows = document[table]
    assert isinstance(rows, Sequence)
    return [row[name] for row in rows]


def test_what_is_believed_is_told_beside_what_was_seen() -> None:
    asked = watched()
    document = told(asked)
    assert document["estimate"] == {
        "demand_rps": float(f"{asked.estimate.demand_rps:.6g}"),
        "servers": float(f"{asked.estimate.typical_servers:.6g}"),
        "scv": 1.0,
    }
    capacity = np.array(column(document, "endpoints", "capacity_rps"))
    assert np.allclose(capacity, asked.estimate.capacity_rps, rtol=1e-5)
    assert column(document, "endpoints", "rate_rps") == asked.observation.succeeded.tolist()
    assert abs(sum(column(document, "endpoints", "share")) - 1.0) < 1e-5
    assert abs(sum(column(document, "groups", "share")) - 1.0) < 1e-5


def test_people_get_the_same_numbers() -> None:
    document = told(watched())
    text = printed(document)
    assert "requests/s arrive" in text
    for one in column(document, "endpoints", "capacity_rps"):
        assert f"{one:.1f}" in text


def test_what_is_not_known_is_null_and_a_dash() -> None:
    document = told(situation(known(np.full(4, np.nan)), [0, 0, 1, 1]))
    assert set(column(document, "endpoints", "rate_rps")) == {None}
    assert set(column(document, "endpoints", "capacity_rps")) == {None}
    assert "nan" not in printed(document)
