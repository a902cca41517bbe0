"""A cluster for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubernetes.apiserver import ApiServer


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    """A server of its own for each test, empty but for the system's namespaces."""
    with ApiServer() as server:
        yield server
