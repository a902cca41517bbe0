"""What is told to differ, and what is not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.inspection.compare import (
    MAX_LINES,
    Comparison,
    Difference,
    Kind,
    compare,
    lasting,
)
from controlplane.inspection.found import Found, Intended, Place, Running
from controlplane.inspection.normal import normal, same


def endpoint(port: int, weight: int | None = 1, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    weighed = {"load_balancing_weight": weight} if weight is not None else {}
    return {"endpoint": {"address": address}, **weighed, **more}


def assignment(*endpoints: dict[str, Any], zone: str = "a") -> dict[str, Any]:
    group = {"locality": {"sub_zone": zone}, "lb_endpoints": [*endpoints]}
    return {"cluster_name": "web", "endpoints": [{**group, "load_balancing_weight": 3}]}


def as_envoy_tells(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """What Envoy makes of an assignment: defaults filled in, health added, in another order."""
    groups = []
    for group in body["endpoints"]:
        told = [
            {
                **one,
                "endpoint": {**one["endpoint"], "health_check_config": {}},
                "health_status": chance.choice(["HEALTHY", "UNHEALTHY"]),
                "metadata": {},
                "load_balancing_weight": one.get("load_balancing_weight", 1),
            }
            for one in group["lb_endpoints"]
        ]
        chance.shuffle(told)
        if told:
            groups.append({**group, "lb_endpoints": told})
    chance.shuffle(groups)
    return {**body, "endpoints": groups, "policy": {"overprovisioning_factor": 140}}


PLACES = st.lists(st.integers(1, 9), unique=True, max_size=4)
WEIGHTS = st.none() | st.integers(1, 5)


@st.composite
def assignments(draw: st.DrawFn) -> dict[str, Any]:
    groups = []
    for zone in draw(st.lists(st.sampled_from("abc"), unique=True)):
        members = [endpoint(port, draw(WEIGHTS)) for port in draw(PLACES)]
        groups.append({"locality": {"sub_zone": zone}, "lb_endpoints": members})
    return {"cluster_name": "web", "endpoints": groups}


@given(assignments(), st.randoms(use_true_random=False))
def test_an_assignment_in_force_is_not_different(body: dict[str, Any], chance: Any) -> None:  # noqa: ANN401
    assert same("eds", normal("eds", body), normal("eds", as_envoy_tells(body, chance)))


@given(assignments(), st.integers(0, 20), st.integers(6, 9))
def test_another_weight_of_any_endpoint_is_different(
    body: dict[str, Any], which: int, weight: int
) -> None:
    members = [one for group in body["endpoints"] for one in group["lb_endpoints"]]
    if not members:
        return
    told = as_envoy_tells(body, random.Random(1))
    there = [one for group in told["endpoints"] for one in group["lb_endpoints"]]
    there[which % len(there)]["load_balancing_weight"] = weight
    assert not same("eds", normal("eds", body), normal("eds", told))


@pytest.mark.parametrize(
    "other",
    [
        {**assignment(endpoint(1)), "cluster_name": "wbe"},
        assignment(endpoint(2)),
        assignment(endpoint(1), endpoint(2)),
        assignment(endpoint(1), zone="b"),
        {**assignment(endpoint(1)), "policy": {"overprovisioning_factor": 100}},
        assignment(endpoint(1, metadata={"filter_metadata": {"a": {"b": 1}}})),
        {"cluster_name": "web"},
    ],
)
def test_what_means_something_is_different(other: dict[str, Any]) -> None:
    assert not same("eds", normal("eds", assignment(endpoint(1))), normal("eds", other))


def running(kind: str, *found: Found) -> Running:
    return Running("envoy-1", "edge", {}, {kind: found})


def intended(*found: Found, everything: bool = True, **facts: Any) -> Intended:  # noqa: ANN401
    return Intended("1", everything, resources=found, **facts)


def kinds(found: Comparison) -> list[tuple[str, str]]:
    return [(one.name, one.kind.value) for one in found.differences]


WEB, WEB_2 = Found("web", {"name": "web"}), Found("web", {"name": "web", "alt_stat_name": "x"})


def test_missing_extra_and_different_are_told_apart() -> None:
    found = compare(
        {"cds": intended(WEB, Found("new", {"name": "new"}))},
        running("cds", WEB_2, Found("old", {"name": "old"})),
    )
    assert kinds(found) == [("web", "different"), ("new", "missing"), ("old", "extra")]
    assert found.compared == 2
    assert '+  "alt_stat_name": "x",' in found.differences[0].lines


def test_what_an_envoy_brought_itself_is_neither_compared_nor_extra() -> None:
    own = Found("web", {"name": "web", "alt_stat_name": "own"}, place=Place.STATIC)
    found = compare({"cds": intended()}, running("cds", own))
    assert found.differences == ()


def test_what_was_not_asked_of_us_is_not_extra() -> None:
    there = running("eds", Found("web", {}), Found("theirs", {}))
    asked = intended(everything=False, asked=frozenset({"web"}))
    assert kinds(compare({"eds": asked}, there)) == [("web", "extra")]


def test_a_resource_that_warms_is_missing_or_different_with_the_reason() -> None:
    warming = Found("web", WEB.body, place=Place.WARMING)
    (one,) = compare({"cds": intended(WEB)}, running("cds", warming)).differences
    assert (one.kind, one.note) == (Kind.MISSING, "it is warming")
    (one,) = compare({"cds": intended(WEB)}, running("cds", WEB_2, warming)).differences
    assert (one.kind, one.note) == (Kind.DIFFERENT, "it is warming")
    assert not compare({"cds": intended(WEB)}, running("cds", WEB)).differences


def test_what_envoy_said_stands_beside_what_it_does() -> None:
    for state, words in (
        ("in force", "Envoy acknowledged it"),
        ("refused", "Envoy refused it"),
        ("awaited", "it was sent, and Envoy has not answered"),
        ("not sent", "it was not sent yet"),
    ):
        side = intended(WEB, states={"web": state})
        (one,) = compare({"cds": side}, running("cds")).differences
        assert one.note == words


def test_what_cannot_be_read_is_told_and_its_absence_still_found() -> None:
    secret = Found("cert", None, why="it is, or carries, a secret")
    found = compare({"sds": intended(secret)}, running("sds", Found("cert", None, why="hidden")))
    assert (found.differences, found.compared) == ((), 0)
    assert found.skipped == ("sds cert: it is, or carries, a secret",)
    assert kinds(compare({"sds": intended(secret)}, running("sds"))) == [("cert", "missing")]
    found = compare({"of.next.Year": intended(WEB)}, running("cds"))
    assert found.skipped == ("of.next.Year: Envoy's config dump does not tell of this type",)


def test_runtime_values_are_the_same_in_six_digits() -> None:
    ours = Found("weir", {"name": "weir", "layer": {"a": {"b": 1234567.0}, "c": True}})
    theirs = Found("weir", {"name": "weir", "layer": {"a.b": "1.23457e+06", "c": "true"}})
    assert not compare({"rtds": intended(ours)}, running("rtds", theirs)).differences
    theirs = Found("weir", {"name": "weir", "layer": {"a.b": "1.23456e+06", "c": "true"}})
    assert kinds(compare({"rtds": intended(ours)}, running("rtds", theirs))) == [
        ("weir", "different")
    ]


def test_a_text_difference_is_bounded() -> None:
    ours = Found("web", {f"a{number:04}": 1 for number in range(1000)})
    theirs = Found("web", {f"a{number:04}": 2 for number in range(1000)})
    (one,) = compare({"cds": intended(ours)}, running("cds", theirs)).differences
    assert len(one.lines) == MAX_LINES + 1
    assert one.lines[-1] == "... more than 200 lines"


def test_only_what_lasts_is_told() -> None:
    stays = Difference("eds", "web", Kind.DIFFERENT, lines=("old",))
    later = Difference("eds", "web", Kind.DIFFERENT, lines=("new",))
    passing, fresh = Difference("eds", "a", Kind.MISSING), Difference("eds", "a", Kind.EXTRA)
    found = lasting(Comparison((stays, passing), 2, ()), Comparison((later, fresh), 3, ("x",)))
    assert found == Comparison((later,), 3, ("x",))
