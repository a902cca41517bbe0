"""`weir create`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import yaml
from typer.testing import CliRunner, Result

from controlplane.cli.root import build
from controlplane.resources.api_keys import ENOUGH_BITS, keys_of, most_bits
from controlplane.resources.secret import Secret


def weir(*args: str) -> Result:
    return CliRunner().invoke(build(), args)


@pytest.mark.parametrize(("output", "read"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_the_key_is_shown_apart_from_the_secret_that_has_its_hash(
    output: str, read: Callable[[str], object]
) -> None:
    done = weir("create", "api-key", "acme", "--secret", "keys", "-n", "shop", "-o", output)
    key = done.stderr.strip()
    assert done.exit_code == 0
    assert re.fullmatch(r"weir_[A-Za-z0-9_-]{43}", key)
    assert most_bits(key) >= ENOUGH_BITS
    assert key not in done.stdout
    made = Secret.model_validate(read(done.stdout))
    assert made.key == "shop/keys"
    presented = Secret.model_validate(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "x"},
            "stringData": {"acme": key},
        }
    )
    assert keys_of([made]) == keys_of([presented])


def test_no_key_is_made_twice() -> None:
    assert len({weir("create", "api-key", "acme").stderr for _ in range(20)}) == 20


def test_a_client_has_a_name_that_a_secret_can_have() -> None:
    done = weir("create", "api-key", "acme & co")
    assert done.exit_code == 1
    assert not done.stdout
