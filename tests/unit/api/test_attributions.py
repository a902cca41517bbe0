"""What moved a learned policy: one document for machines, and the same for people."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from controlplane.api.attributions import attributions, none
from controlplane.cli.attributions import FEATURES as SHOWN
from controlplane.cli.attributions import show
from controlplane.decide.learned import Learned
from controlplane.decide.queueing import QueueingModel
from controlplane.model.features import FEATURES
from tests.unit.decide.test_learned import situations


def told(groups: int = 2) -> dict[str, Any]:
    policy = Learned(QueueingModel())
    (situation,) = situations(1, 12, groups)
    base = policy.propose([situation])[0].base
    assert base is not None
    document = attributions("learned", policy.attribute(situation, base))
    return dict(json.loads(json.dumps(document, allow_nan=False)))


def printed(document: dict[str, Any], width: int = 80) -> str:
    out = StringIO()
    show(document, Console(file=out, width=width))
    return out.getvalue()


def test_effects_and_what_is_left_sum_to_what_was_moved() -> None:
    for group in told()["groups"]:
        total = sum(row["effect"] for row in group["features"]) + group["unexplained"]
        assert total == pytest.approx(group["moved"], abs=1e-4)
        sizes = [abs(row["effect"]) for row in group["features"]]
        assert sizes == sorted(sizes, reverse=True)
        assert {row["feature"] for row in group["features"]} <= set(FEATURES)


def test_people_see_the_largest_and_the_sum_of_the_others_within_eighty_columns() -> None:
    document = told()
    text = printed(document)
    for group in document["groups"]:
        assert f"{100 * np.expm1(group['moved']):+.1f} % of the base's share" in text
        for row in group["features"][:SHOWN]:
            assert f"{100 * np.expm1(row['effect']):+.1f} %" in text
    assert "all others" in text
    assert max(map(len, text.splitlines())) <= 80


def test_of_many_groups_those_that_moved_most_are_shown() -> None:
    document = told(groups=6)
    text = printed(document)
    ordered = sorted(document["groups"], key=lambda one: -abs(one["moved"]))
    assert f"{ordered[0]['group']}: " in text
    assert f"{ordered[-1]['group']}: " not in text
    assert "2 more groups were moved less" in text


def test_where_there_are_none_it_says_why() -> None:
    document = none("model", "policy 'model' is a formula")
    assert document["groups"] == []
    assert printed(document) == "no attributions: policy 'model' is a formula\n"
