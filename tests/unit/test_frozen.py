"""Who holds weights, and what is told of it."""

from __future__ import annotations

from pathlib import Path

from controlplane.frozen import Frozen
from controlplane.model import ServiceName
from controlplane.store import KillSwitch, Switched

WEB, API = ServiceName("web"), ServiceName("api")


class Scene:
    """A kill switch here, others elsewhere, and a replica that may or may not decide."""

    def __init__(self, folder: Path) -> None:
        self.switch = KillSwitch(folder)
        self.elsewhere = Switched()
        self.why_not: str | None = None
        self.told: list[tuple[Switched, Switched]] = []
        self.frozen = Frozen(
            self.switch,
            elsewhere=lambda: self.elsewhere,
            why_not=lambda: self.why_not,
            tell=lambda before, now: self.told.append((before, now)),
        )


def test_a_person_comes_before_another_replica_and_before_who_decides(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert scene.frozen.look()(WEB) is None
    scene.why_not = "another replica decides"
    assert scene.frozen.look()(WEB) == "another replica decides"
    scene.elsewhere = Switched(services={WEB: "an incident"})
    assert scene.frozen.look()(WEB) == "an incident"
    scene.switch.freeze("a change", by="me", service=WEB)
    held = scene.frozen.look()
    assert "a change" in (held(WEB) or "")
    assert held(API) == "another replica decides"


def test_what_changed_is_told_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.switch.freeze("a change", by="me", service=WEB)
    for _ in range(3):
        scene.frozen.look()
    ((before, now),) = scene.told
    assert not before.services
    assert set(now.services) == {WEB}
    scene.switch.resume(WEB)
    scene.frozen.look()
    assert not scene.told[-1][1].services


def test_who_takes_over_keeps_what_was_frozen_and_his_own_reasons(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.switch.freeze("mine", by="me", service=WEB)
    mine = scene.switch.look().services[WEB]
    scene.frozen.inherit(Switched("all of it", {WEB: "theirs", API: "theirs"}))
    now = scene.switch.look()
    assert now.services[WEB] == mine
    assert "theirs" in now.services[API]
    assert now.all is not None
    assert "all of it" in now.all


def test_nothing_is_let_go_for_a_tick_when_the_replica_that_had_it_is_gone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def gone() -> Switched:
        scene.frozen.inherit(Switched(services={WEB: "theirs"}))
        return Switched()

    scene.frozen = Frozen(
        scene.switch, elsewhere=gone, why_not=lambda: None, tell=lambda before, now: None
    )
    assert "theirs" in (scene.frozen.look()(WEB) or "")
