from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code
from tests.unit.guard.cases import Life, codes, look, service, text_of, with_errors

WANTED = [0.3, 0.3, 0.2, 0.2]


def test_more_than_half_of_the_endpoints_failing_at_once_freezes() -> None:
    life = Life(service(4))
    verdict = life.ask(WANTED, with_errors(look(life.service, life.now_s + 1), 90, 90, 90, 0))
    assert not verdict.changed
    assert text_of(verdict, Code.SUSPECT) == (
        "3 of 4 endpoints are bad at once, more than 50%: the numbers are suspect, nothing moves"
    )


def test_half_of_them_is_not_more_than_half() -> None:
    life = Life(service(4))
    verdict = life.ask(WANTED, with_errors(look(life.service, life.now_s + 1), 0, 0, 90, 90))
    assert Code.SUSPECT not in codes(verdict)


def test_more_than_half_reporting_what_cannot_be_freezes() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1)
    seen.latency_s[:3] = -1.0
    assert codes(life.ask(WANTED, seen)) == [Code.SUSPECT]


def test_a_crowd_that_slows_all_endpoints_down_is_no_reason_to_freeze() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1)
    seen.latency_s[:] *= 50
    assert life.ask(WANTED, seen).changed


@pytest.mark.parametrize("coverage", [0.49, 0.0, np.nan])
def test_numbers_that_cover_too_little_move_nothing(coverage: float) -> None:
    life = Life(service(4))
    seen = replace(look(life.service, life.now_s + 1), coverage=coverage)
    verdict = life.ask(WANTED, seen)
    assert not verdict.changed
    assert codes(verdict) == [Code.COVERAGE]


def test_when_the_numbers_are_good_again_they_are_acted_on_at_once() -> None:
    life = Life(service(4))
    life.ask(WANTED, with_errors(look(life.service, life.now_s + 1), 90, 90, 90, 0))
    assert life.ask(WANTED).changed
