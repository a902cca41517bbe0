from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.errors import StoreError
from controlplane.model import ServiceName
from controlplane.store import KillSwitch

SHOP, CART = ServiceName("default/shop"), ServiceName("default/cart")


def test_nothing_is_frozen_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / ".weir")
    assert switch.look().why(SHOP) is None
    assert switch.trouble == ""


def test_a_freeze_of_all_holds_every_service_and_says_why_and_who(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / ".weir")
    switch.freeze("errors are up", "ann")
    assert switch.look().why(SHOP) == "errors are up (by ann)"
    assert switch.look().why(CART) == "errors are up (by ann)"


def test_a_freeze_of_one_service_leaves_the_others(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path)
    switch.freeze("looks odd", "ann", SHOP)
    assert switch.look().why(SHOP) == "looks odd (by ann)"
    assert switch.look().why(CART) is None


def test_a_freeze_of_a_service_holds_its_parts_too(tmp_path: Path) -> None:
    switch, part = KillSwitch(tmp_path), ServiceName(f"{SHOP}@eu")
    switch.freeze("looks odd", "ann", SHOP)
    assert switch.look().why(part) == "looks odd (by ann)"
    switch.resume(SHOP)
    switch.freeze("this alone", "ann", part)
    assert switch.look().why(part) == "this alone (by ann)"
    assert switch.look().why(SHOP) is None


def test_another_process_sees_a_freeze_and_its_end(tmp_path: Path) -> None:
    switch, other = KillSwitch(tmp_path), KillSwitch(tmp_path)
    assert other.look().why(SHOP) is None
    switch.freeze("stop", "ann")
    switch.freeze("stop", "ann", SHOP)
    assert other.look().why(CART) == "stop (by ann)"
    assert switch.resume() is True
    assert other.look().why(CART) is None
    assert other.look().why(SHOP) == "stop (by ann)"
    assert switch.resume(SHOP) is True
    assert other.look().why(SHOP) is None


def test_a_file_made_by_hand_freezes_without_a_reason(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path)
    switch.look()
    (tmp_path / "frozen").touch()
    assert switch.look().why(SHOP) == "frozen is there, without a reason"
    (tmp_path / "frozen").unlink()
    assert switch.look().why(SHOP) is None


def test_a_freeze_outlives_the_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from controlplane.store import KillSwitch; "
        "KillSwitch(Path(sys.argv[1])).freeze('stop', 'bob')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=60)
    assert KillSwitch(tmp_path).look().why(SHOP) == "stop (by bob)"


def test_a_freeze_that_cannot_be_written_is_in_force_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    switch = KillSwitch(tmp_path / "file")
    with pytest.raises(StoreError, match="frozen in this process"):
        switch.freeze("stop", "ann", SHOP)
    assert switch.look().why(SHOP) == "stop (by ann)"
    with pytest.raises(StoreError):
        switch.freeze("stop all", "ann")
    assert switch.look().why(CART) == "stop all (by ann)"


def test_a_state_folder_that_vanishes_does_not_resume(tmp_path: Path) -> None:
    folder = tmp_path / ".weir"
    switch = KillSwitch(folder)
    switch.freeze("stop", "ann")
    switch.freeze("stop", "ann", CART)
    assert switch.look().why(SHOP) == "stop (by ann)"
    shutil.rmtree(folder)
    assert switch.look().why(SHOP) == "stop (by ann)"
    assert "is gone" in switch.trouble
    assert switch.resume() is True
    assert switch.look().why(SHOP) is None
    assert switch.look().why(CART) == "stop (by ann)"


def test_a_file_that_cannot_be_read_freezes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    why = KillSwitch(tmp_path).look().why(SHOP)
    assert why is not None
    assert "cannot be read" in why


def test_a_file_that_cannot_be_removed_stays_frozen_in_words(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "x").touch()
    switch = KillSwitch(tmp_path)
    with pytest.raises(StoreError, match="still frozen"):
        switch.resume()
    assert switch.look().why(SHOP) is not None


def test_resuming_what_is_not_frozen_says_so(tmp_path: Path) -> None:
    assert KillSwitch(tmp_path).resume() is False
    assert KillSwitch(tmp_path).resume(SHOP) is False


def test_whatever_a_file_holds_the_reason_is_one_bounded_line(tmp_path: Path) -> None:
    (tmp_path / "frozen").write_bytes(b"\x1b[31mred\n\xff\x00 alert" + b"x" * 1_000_000)
    why = KillSwitch(tmp_path).look().why(SHOP)
    assert why is not None
    assert len(why) <= 500
    assert why.isprintable()


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / ".weir")
    evil = ServiceName("../../evil")
    switch.freeze("stop", "ann", evil)
    assert switch.look().why(evil) == "stop (by ann)"
    assert {path.name for path in tmp_path.iterdir()} == {".weir"}
