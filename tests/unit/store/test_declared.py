"""What is kept of the documents: read back whole, or not at all, and no Secret in the clear."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from controlplane.errors import ConfigurationError, StoreError
from controlplane.resources.kept import Kept
from controlplane.store import declared as module
from controlplane.store.declared import DeclaredFile, StateKeys

SECRET = b'{"kind":"Secret","data":{"tls.key":"bm90IGZvciB5b3U="}}'
KEPT = Kept(
    "https://10.96.0.1:443 all",
    {
        "HTTPRoute/shop/web": b'{"kind":"HTTPRoute","now":2}',
        "Gateway/shop/edge": '{"kind":"Gateway","wörd":" "}'.encode(),
        "Secret/shop/cert": SECRET,
    },
    {"HTTPRoute/shop/web": b'{"kind":"HTTPRoute","now":1}'},
)


def keys(*starts: int) -> StateKeys:
    return StateKeys([bytes(range(one, one + 32)) for one in starts])


def test_with_a_key_all_of_it_is_read_back_and_none_of_it_is_on_the_disk(tmp_path: Path) -> None:
    DeclaredFile(tmp_path / "state", keys(1)).save(KEPT)
    assert DeclaredFile(tmp_path / "state", keys(1)).load() == KEPT
    content = (tmp_path / "state" / "declared").read_bytes()
    for text in (b"bm90IGZvciB5b3U=", b"Secret", b"shop"):
        assert text not in content


def test_without_a_key_secrets_are_left_out_and_that_is_known(tmp_path: Path) -> None:
    DeclaredFile(tmp_path).save(KEPT)
    assert b"bm90IGZvciB5b3U=" not in (tmp_path / "declared").read_bytes()
    found = DeclaredFile(tmp_path).load()
    assert found is not None
    assert found.withheld == {"Secret/shop/cert"}
    assert found.documents.keys() == {"HTTPRoute/shop/web", "Gateway/shop/edge"}
    assert found.earlier == KEPT.earlier


def test_it_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        DeclaredFile(tmp_path / "state").save(KEPT)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state" / "declared").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) & 0o077 == 0
    assert [one.name for one in (tmp_path / "state").iterdir()] == ["declared"]


@pytest.mark.parametrize("sealed", [False, True])
def test_whatever_is_cut_off_or_changed_is_refused_whole(tmp_path: Path, sealed: bool) -> None:
    file = DeclaredFile(tmp_path, keys(1) if sealed else None)
    file.save(KEPT)
    path = tmp_path / "declared"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at])
        with pytest.raises(StoreError):
            file.load()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StoreError):
            file.load()


def test_another_version_another_key_and_none_are_refused_in_words(tmp_path: Path) -> None:
    DeclaredFile(tmp_path, keys(1)).save(KEPT)
    for others, why in ((keys(2), "another key"), (None, "no key is given")):
        with pytest.raises(StoreError, match=why):
            DeclaredFile(tmp_path, others).load()
    line, _, rest = (tmp_path / "declared").read_bytes().partition(b"\n")
    later = json.dumps({**json.loads(line), "version": 2}).encode()
    (tmp_path / "declared").write_bytes(later + b"\n" + rest)
    with pytest.raises(StoreError, match="version 1"):
        DeclaredFile(tmp_path, keys(1)).load()


def test_a_key_is_changed_by_a_new_one_before_it(tmp_path: Path) -> None:
    DeclaredFile(tmp_path, keys(1)).save(KEPT)
    both = DeclaredFile(tmp_path, keys(2, 1))
    assert both.load() == KEPT
    both.save(KEPT)
    assert DeclaredFile(tmp_path, keys(2)).load() == KEPT


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DeclaredFile(tmp_path).save(KEPT)
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with pytest.raises(StoreError, match="larger than 100 bytes"):
        DeclaredFile(tmp_path).save(KEPT)
    with pytest.raises(StoreError, match="larger than 100 bytes"):
        DeclaredFile(tmp_path).load()


def test_a_folder_that_cannot_be_written_says_so_and_nothing_kept_is_no_error(
    tmp_path: Path,
) -> None:
    assert DeclaredFile(tmp_path).load() is None
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="state"):
        DeclaredFile(tmp_path / "state").save(KEPT)


def test_a_key_file_is_read_and_what_is_none_is_in_no_message(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(base64.b64encode(bytes(range(1, 33))).decode() + "\n")
    DeclaredFile(tmp_path, keys(1)).save(KEPT)
    assert DeclaredFile(tmp_path, StateKeys.read(path)).load() == KEPT
    for content in ("", "c2VjcmV0", "not base64 at all!"):
        path.write_text(content)
        with pytest.raises(ConfigurationError, match="openssl rand") as refused:
            StateKeys.read(path)
        assert not content or content not in str(refused.value)
    with pytest.raises(ConfigurationError, match="No such file"):
        StateKeys.read(tmp_path / "none")
