from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.guard import Code, resumed
from controlplane.model import LastGood, Observation, Weights
from tests.unit.guard.cases import NAME, Life, codes, each, ids, look, service, text_of

TILTED = [0.4, 0.2, 0.2, 0.2]
AWAY = [0.2, 0.2, 0.2, 0.4]


def tilted() -> Life:
    """A service that stands away from its baseline, with numbers that are fresh."""
    life = Life(service(4))
    for wanted in ([0.31, 0.23, 0.23, 0.23], [0.37, 0.21, 0.21, 0.21], TILTED):
        life.ask(wanted)
    assert life.shares == pytest.approx(TILTED)
    return life


def silent(life: Life, *, after_s: float = 1.0) -> list[Code]:
    """One tick in which nothing new is seen."""
    gone = Observation.unknown(NAME, ids(life.service))
    return codes(life.ask(AWAY, gone, after_s=after_s))


def test_the_rungs_come_in_order_of_age() -> None:
    life = tilted()
    first_at: dict[Code | None, int] = {}
    for age_s in range(1, 200):
        said = silent(life)
        rung = said[0] if said[0] is not Code.MISSING else None
        first_at.setdefault(rung, age_s)
    assert first_at == {None: 1, Code.STALE: 3, Code.DECAYING: 31, Code.BASELINE: 181}


def test_numbers_up_to_two_intervals_old_are_acted_on() -> None:
    life = tilted()
    seen = look(life.service, life.now_s)
    assert life.ask(AWAY, seen, after_s=2.0).changed
    verdict = life.ask(AWAY, seen, after_s=0.5)
    assert not verdict.changed
    assert text_of(verdict, Code.STALE) == "the newest numbers are 2.5 s old: nothing moves"


def test_up_to_thirty_seconds_nothing_moves_whatever_is_proposed() -> None:
    life = tilted()
    before = life.shares
    for _ in range(30):
        silent(life)
    assert life.shares is before


def test_then_the_shares_go_to_the_baseline_in_a_straight_line() -> None:
    life = tilted()
    for _ in range(30):
        silent(life)
    path = []
    for _ in range(150):
        silent(life)
        path.append(life.shares[0])
    straight = 0.4 - 0.15 * np.arange(1, 151) / 150
    assert np.abs(np.array(path) - straight).max() <= 0.02 + 1e-9
    assert (np.diff(path) <= 1e-12).all()


def test_beyond_the_baseline_is_in_force_exactly() -> None:
    life = tilted()
    for _ in range(190):
        silent(life)
    assert life.memory is not None
    assert life.memory.weights.by_group == (10_000,) * 4
    assert silent(life) == [Code.BASELINE]


def test_the_baseline_is_the_declared_capacity_where_there_is_one() -> None:
    life = Life(service(4, capacity=[2, 1, 1, 1]))
    for _ in range(10):
        life.ask([0.25, 0.25, 0.25, 0.25])
    for _ in range(190):
        silent(life)
    assert life.shares == pytest.approx([0.4, 0.2, 0.2, 0.2])


def test_a_jump_over_all_rungs_still_goes_by_steps() -> None:
    life = tilted()
    silent(life, after_s=10_000.0)
    assert life.shares[0] == pytest.approx(0.32, abs=0.01)


def test_fresh_numbers_are_acted_on_again_after_ten_seconds_of_them() -> None:
    life = tilted()
    for _ in range(5):
        silent(life)
    said = [codes(life.ask(AWAY))[0] for _ in range(12)]
    assert said[:10] == [Code.RECOVERING] * 10
    assert said[10] == Code.STEPPED


def test_a_gap_in_the_ten_seconds_starts_them_again() -> None:
    life = tilted()
    for _ in range(5):
        silent(life)
    for _ in range(8):
        life.ask(AWAY)
    for _ in range(3):
        silent(life)
    said = [codes(life.ask(AWAY))[0] for _ in range(11)]
    assert said == [Code.RECOVERING] * 10 + [Code.STEPPED]


def test_numbers_that_repeat_to_the_last_bit_are_not_new() -> None:
    life = tilted()
    stuck = look(life.service, life.now_s)
    said = [codes(life.ask(AWAY, replace(stuck, at_s=life.now_s + 1)))[0] for _ in range(5)]
    assert said == [Code.STEPPED, Code.STEPPED, Code.STALE, Code.STALE, Code.STALE]


def test_a_look_that_holds_nothing_moves_nothing_and_is_not_stale_at_once() -> None:
    life = tilted()
    assert silent(life) == [Code.MISSING]
    assert silent(life) == [Code.MISSING]
    assert silent(life) == [Code.STALE]


@pytest.mark.parametrize("lie", [np.nan, np.inf, -5.0, 0.0])
def test_counts_that_are_all_absurd_are_no_numbers(lie: float) -> None:
    life = tilted()
    seen = look(life.service, life.now_s + 1)
    nonsense = np.full(4, lie)
    seen = replace(seen, succeeded=nonsense, failed=nonsense, latency_s=nonsense)
    verdict = life.ask(AWAY, seen)
    assert not verdict.changed
    assert codes(verdict)[0] in (Code.MISSING, Code.SUSPECT)


def test_numbers_from_the_future_are_taken_as_of_now() -> None:
    life = tilted()
    life.ask(AWAY, replace(look(life.service, life.now_s + 1), at_s=life.now_s + 1e6))
    for _ in range(3):
        said = silent(life)
    assert said == [Code.STALE]


def test_before_the_first_numbers_a_new_service_needs_no_time_to_recover() -> None:
    life = Life(service(4))
    life.memory = None
    silent(life)
    for _ in range(20):
        silent(life)
    assert life.ask(TILTED).changed


def test_after_a_restart_the_ladder_begins_anew_and_holds_what_was_stored() -> None:
    of = service(4)
    last = LastGood(of.name, each(of), np.array(TILTED), Weights((16000, 8000, 8000, 8000)), "x", 0)
    life = Life(of)
    life.memory = resumed(last, life.now_s)
    silent(life)
    for _ in range(25):
        assert silent(life) == [Code.STALE]
        assert life.memory is not None
        assert life.memory.weights == last.weights
    assert life.ask(AWAY).changed, "first numbers within the freeze are acted on at once"


def test_an_endpoint_without_numbers_gets_its_peers_mean_and_never_nothing() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1)
    for values in (seen.succeeded, seen.failed, seen.latency_s):
        values[3] = np.nan
    verdict = life.ask([0.35, 0.35, 0.30, 0.0], seen)
    assert "10.0.0.4:80 25.00% instead of 0.00%" in text_of(verdict, Code.FILLED)
    assert verdict.shares[3] == pytest.approx(0.25, abs=0.02)


def test_an_endpoint_whose_numbers_are_old_counts_as_without() -> None:
    life = Life(service(4))
    seen = look(life.service, life.now_s + 1)
    seen.age_s[3] = 31.0
    assert Code.FILLED in codes(life.ask([0.35, 0.35, 0.30, 0.0], seen))
