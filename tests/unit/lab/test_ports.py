"""Ports for labs that start at once."""

from __future__ import annotations

import socket

import pytest

from controlplane.errors import ConfigurationError
from controlplane.lab import ports


def test_a_lab_keeps_to_its_range_and_to_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_ports(1)[0]
    monkeypatch.setenv(ports.RANGE, f"{first}-{first + 200}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        found = ports.free_ports(20)
    assert len(set(found)) == 20
    assert all(first < port <= first + 200 for port in found)


def test_what_was_given_is_not_given_again_while_other_ports_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scene asks for the ports of its Envoys and opens them after those of `weir serve`, whose
    admin port was once the same: an Envoy that could not listen, in one run of some hundred."""
    first = ports.free_ports(1)[0]
    monkeypatch.setenv(ports.RANGE, f"{first}-{first + 200}")
    given = [port for _ in range(10) for port in ports.free_ports(10)]
    assert len(set(given)) == 100
    again = [port for _ in range(20) for port in ports.free_ports(10)]  # and it never runs out
    assert len(again) == 200
    assert not {*given[-50:]} & {*again[:50]}


@pytest.mark.parametrize("given", ["", "15000", "a-b"])
def test_a_range_that_is_none_is_told(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE, given)
    with pytest.raises(ConfigurationError, match="FIRST-LAST"):
        ports.free_ports(1)
