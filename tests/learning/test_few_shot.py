"""The benchmark of few-shot adaptation: what is kept, whose it is, and what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.few_shot import JUDGED, PAGE, RESULT, WAYS, measured, place, table, wanted

pytestmark = pytest.mark.learning


def test_another_release_begins_anew(tmp_path: Path) -> None:
    one, other = (place(tmp_path, f"sha256:{digit * 64}") for digit in "ab")
    assert one != other
    assert one == place(tmp_path, f"sha256:{'a' * 64}")


def test_it_goes_on_after_the_services_that_were_played_to_their_end(tmp_path: Path) -> None:
    """All are in the journal, so nothing is played; half a line is taken away."""
    services = [fixture for _, fixture in wanted(2)]
    assert len({one.family for one in services}) == 2
    lines = [
        json.dumps({"service": one.key, "family": one.family, "ways": {"released": {"mean": i}}})
        for i, one in enumerate(services)
    ]
    journal = tmp_path / f"played-78-{JUDGED}.jsonl"
    whole = "".join(f"{one}\n" for one in lines)
    journal.write_text(whole + lines[0][:30])
    for way in WAYS:
        (tmp_path / f"{way}-78.pt").touch()
    got = measured(tmp_path, 2, 78, 1)
    assert [json.dumps(one) for one in got] == lines
    assert journal.read_text() == whole


def test_the_page_is_made_from_what_is_kept() -> None:
    assert table(json.loads(RESULT.read_text())) in PAGE.read_text()
