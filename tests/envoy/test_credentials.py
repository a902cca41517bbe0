"""The table of credentials against the messages that the real Envoy has."""

from __future__ import annotations

import pytest

from controlplane.lab.envoy import envoy_binary
from tests.envoy.credentials import TABLE, leads, written

pytestmark = pytest.mark.envoy


def test_every_field_that_is_or_leads_to_a_credential_is_in_the_table() -> None:
    found = leads(envoy_binary())
    assert TABLE.read_text() == written(found), "run: python -m tests.envoy.credentials"
    # Known by hand, lest nothing is found in the binary at all.
    tls = "envoy.extensions.transport_sockets.tls.v3."
    assert found[tls + "TlsCertificate"][2] == "inline"
    assert found[tls + "PrivateKeyProvider"][3] == "value"
