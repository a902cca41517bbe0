"""Why: one document for machines, and the same for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from controlplane import guard
from controlplane.api.explain import explain
from controlplane.cli.weights import show
from controlplane.decide.queueing import QueueingModel
from controlplane.model import Order, Part, Reason, ServiceName, Situation, Zone
from controlplane.model.crossing import Between
from tests.unit.decide.worlds import World, known, situation

Orders = Mapping[Zone, Order]
CAPACITY = np.array([80.0, 80.0, 20.0, 20.0])


def told(asked: Situation, orders: Orders | None = None) -> dict[str, object]:
    proposal = QueueingModel().propose([asked])[0]
    now_s = asked.observation.at_s + 0.4
    verdict, _ = guard.check(asked, proposal, None, now_s=now_s)
    document = explain(asked, proposal, verdict, now_s, orders or {})
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


def test_where_the_envoys_of_each_place_send_is_told_in_order() -> None:
    a, b, us = Zone("eu", "a"), Zone("eu", "b"), Zone("us")
    order = {
        ServiceName("s@us"): Part(1, where=us),
        ServiceName("s@eu:b"): Part(0, 250, where=b),
        ServiceName("s@eu:a"): Part(0, 750, where=a),
    }
    document = told(watched(), {a: order})
    assert document["places"] == [
        {
            "place": "eu:a",
            "zones": [
                {"zone": "eu:b", "priority": 0, "share": 0.25, "way_s": None},
                {"zone": "eu:a", "priority": 0, "share": 0.75, "way_s": None},
                {"zone": "us", "priority": 1, "share": 1.0, "way_s": None},
            ],
        }
    ]
    assert "Envoys in eu:a: eu:b 25.0 % and eu:a 75.0 %, then us" in printed(document)


def test_what_sessions_hold_in_place_is_said() -> None:
    asked = watched()
    assert "sessions" not in printed(told(asked))
    held = replace(asked, observation=replace(asked.observation, sticky_share=0.4))
    assert "sessions hold 40.0 % of the requests in place" in printed(told(held))


def test_why_zones_serve_as_they_do_is_told_with_the_ways() -> None:
    a, us = Zone("eu", "a"), Zone("us")
    order = {
        ServiceName("s@eu:a"): Part(0, 750, where=a),
        ServiceName("s@us"): Part(0, 250, where=us),
    }
    reason = Reason("crowd", "us would be flooded")
    between = Between("least-time", {(a, a): 0.0, (a, us): 0.0301}, (reason,))
    asked = watched()
    proposal = QueueingModel().propose([asked])[0]
    verdict, _ = guard.check(asked, proposal, None, now_s=asked.observation.at_s)
    document = explain(asked, proposal, verdict, 0.0, {a: order}, between)
    assert [zone["way_s"] for zone in document["places"][0]["zones"]] == [0.0, 0.0301]
    assert document["between"] == {
        "mode": "least-time",
        "reasons": [{"code": "crowd", "text": "us would be flooded"}],
    }
