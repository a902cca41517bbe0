"""The table of features names tests that are there, and the page is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.catalogue import ROOT, features, missing, page


def test_every_test_that_a_feature_names_is_there() -> None:
    assert not list(missing(features()))


def test_the_page_is_what_the_catalogue_says() -> None:
    written = (ROOT / "docs" / "features.md").read_text()
    assert written == page(features()), "run `make features ARGS=--write`"


def test_a_feature_without_a_test_has_to_say_why(tmp_path: Path) -> None:
    file = tmp_path / "features.yaml"
    file.write_text("TLS:\n  - {feature: something}\n")
    with pytest.raises(ValueError, match="does not say why"):
        features(file)
    file.write_text("TLS:\n  - {feature: something, note: no such thing in Envoy}\n")
    (one,) = features(file)
    assert one.status == "no"
