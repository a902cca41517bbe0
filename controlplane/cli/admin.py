"""Asks a running `weir serve` over its admin address."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Annotated, Any

import typer

from controlplane.errors import WeirError
from controlplane.settings import Address

DEADLINE_S = 5.0

AdminOption = Annotated[
    str,
    typer.Option(
        "--admin-address",
        envvar="WEIR_ADMIN_ADDRESS",
        help="Admin address of the running control plane.",
    ),
]
DEFAULT_ADMIN = os.environ.get("WEIR_ADMIN_ADDRESS", "127.0.0.1:18001")


class Unreachable(WeirError):
    """Nobody answers at the admin address."""


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
    """GET (or POST, with a body) and the decoded answer. Raises `WeirError` in plain words."""
    where = Address.parse(address)
    request = urllib.request.Request(
        f"http://{where}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise WeirError(f"{where}{path}: {_detail(error)}") from error
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error) or type(error).__name__
        raise Unreachable(
            f"no answer from {where}: {reason}. Is `weir serve` running with that --admin-address?"
        ) from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(65_536))["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
