"""What is kept of places: to the bit, and nothing that is not believable."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.model import Zone
from controlplane.model.crossing import Served
from controlplane.store.document import from_text, to_text
from tests.unit.store.states import assert_same, state

PLACES = {
    Zone("eu", "a"): Served(0, 750, requests=12.5, way_s=0.0123456789, measured=1 / 3),
    Zone("eu"): Served(1, None),
    Zone("us", "b"): Served(0, None, together=True),
}


def test_how_places_are_served_is_kept_to_the_bit() -> None:
    kept = replace(state(), places=PLACES)
    assert_same(from_text(kept.service, to_text(kept), kept.saved_at), kept)


def test_a_document_of_before_there_were_places_is_read() -> None:
    fields = json.loads(to_text(state()))
    del fields["places"]
    assert_same(from_text("default/shop", json.dumps(fields), 1e9), state())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", 7),
        ("priority", -1),
        ("priority", 1e9),
        ("priority", None),
        ("weight", 0),
        ("weight", 2**40),
        ("weight", "1"),
        ("requests", -1.0),
        ("way_s", 1e300),
        ("measured", True),
    ],
)
def test_nothing_unbelievable_is_resumed(name: str, value: Any) -> None:  # noqa: ANN401
    fields = json.loads(to_text(replace(state(), places=PLACES)))
    fields["places"][0][name] = value
    with pytest.raises(ValueError, match="place"):
        from_text("default/shop", json.dumps(fields), 1e9)
