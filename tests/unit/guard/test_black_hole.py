from __future__ import annotations

import numpy as np
import pytest

from controlplane.guard import Code
from controlplane.model import Verdict
from tests.unit.guard.cases import Life, codes, look, service, text_of, with_errors


def lying(life: Life, *failed: float) -> Verdict:
    """A look in which the last endpoint answers fast, and with errors; more is wanted for it."""
    seen = with_errors(look(life.service, life.now_s + 1), *failed)
    seen.latency_s[-1] = 0.001
    return life.ask([0.2, 0.2, 0.2, 0.4], seen)


def test_a_fast_failing_endpoint_gains_no_share_however_much_a_policy_wants_it() -> None:
    life = Life(service(4))
    for _ in range(20):
        verdict = lying(life, 0, 0, 0, 90)
        assert verdict.shares[3] <= 0.25 + 1e-9
    text = text_of(verdict, Code.BLACK_HOLE)
    assert "10.0.0.4:80 fails 9" in text
    assert "its share may be 25.00%, not 40.00%" in text


def test_one_that_had_gained_before_it_failed_goes_back_to_its_capacity_share() -> None:
    life = Life(service(4))
    for _ in range(6):
        life.ask([0.2, 0.2, 0.2, 0.4])
    assert life.shares[3] == pytest.approx(0.4, abs=0.02)
    for _ in range(8):
        lying(life, 0, 0, 0, 90)
    assert life.shares[3] == pytest.approx(0.25, abs=0.02)


def test_a_policy_that_counts_errors_may_take_it_lower() -> None:
    life = Life(service(4))
    for _ in range(8):
        seen = with_errors(look(life.service, life.now_s + 1), 0, 0, 0, 90)
        life.ask([0.31, 0.31, 0.31, 0.07], seen)
    assert life.shares[3] == pytest.approx(0.07, abs=0.02)


def test_errors_that_all_endpoints_share_are_no_black_hole() -> None:
    life = Life(service(4))
    assert Code.BLACK_HOLE not in codes(lying(life, 20, 20, 20, 20))


def test_two_failed_requests_prove_nothing() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1, rate=4)
    seen.failed[3] = 2.0
    assert Code.BLACK_HOLE not in codes(life.ask(np.array([0.2, 0.2, 0.2, 0.4]), seen))
