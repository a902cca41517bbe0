from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.discovery.names import Name, NameSettings

SETTINGS = NameSettings()
ANSWERS = st.sampled_from([None, (), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2")])


@given(st.lists(ANSWERS, max_size=40), st.randoms(use_true_random=False))
def test_a_name_never_loses_its_last_addresses(
    answers: list[tuple[str, ...] | None], chance: random.Random
) -> None:
    name, now_s = Name(), 0.0
    last: tuple[str, ...] = ()
    for answer in answers:
        name = name.after(answer, now_s, chance, SETTINGS)
        last = answer or last
        assert name.addresses == last
        most_s = SETTINGS.period_s * (1 + SETTINGS.jitter)
        assert 0 < name.due_s - now_s <= most_s + 1e-9  # sums of seconds are rounded
        now_s = name.due_s


def test_lookups_that_fail_come_at_growing_distances() -> None:
    chance, name, now_s, waits = random.Random(1), Name(), 0.0, []
    settings = NameSettings(jitter=0.0)
    for _ in range(8):
        name = name.after(None, now_s, chance, settings)
        waits.append(name.due_s - now_s)
        now_s = name.due_s
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_only_certainty_ends_a_name_and_only_after_the_grace() -> None:
    chance = random.Random(1)
    name = Name(("10.0.0.1",), tried=True)
    failing = name.after(None, 0.0, chance, SETTINGS)
    assert not failing.gone(1e9, SETTINGS)
    empty = failing.after((), 10.0, chance, SETTINGS).after(None, 20.0, chance, SETTINGS)
    assert not empty.gone(10.0 + SETTINGS.grace_s - 1, SETTINGS)
    assert empty.gone(10.0 + SETTINGS.grace_s, SETTINGS)
    assert not empty.after(("10.0.0.1",), 30.0, chance, SETTINGS).gone(1e9, SETTINGS)
