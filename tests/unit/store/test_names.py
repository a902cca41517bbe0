from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import StoreError
from controlplane.store import NameFile


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    names = {"cart.internal": ("10.0.0.1", "10.0.0.2"), "six.internal": ("2001:db8::1",)}
    NameFile(tmp_path / "state").save(names)
    assert NameFile(tmp_path / "state").load() == names


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"a": "10.0.0.1"}', '{"a": [1]}', '{"a": ["x"]}', '{"a": []}', "[" * 100_000],
)
def test_a_broken_file_gives_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "names.json").write_text(content)
    assert NameFile(tmp_path).load() == {}


def test_what_cannot_be_written_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="state"):
        NameFile(tmp_path / "state").save({"a": ("10.0.0.1",)})
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
