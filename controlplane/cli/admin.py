"""Asks a running `weir serve` over its admin address, or several replicas over theirs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Annotated, Any

import typer

from controlplane.errors import WeirError
from controlplane.settings import Address

DEADLINE_S = 5.0
MOST_BYTES = 256 * 1024 * 1024
"""Of one answer."""
DEFAULT_ADMIN = "127.0.0.1:18001"


class Unreachable(WeirError):
    """Nobody answers at the admin address."""


class NotThere(WeirError):
    """It answers that there is no such thing."""


@dataclass(frozen=True)
class Replica:
    """One `weir serve`."""

    address: str = DEFAULT_ADMIN
    """HOST:PORT."""
    pod: str = ""
    """`namespace/name` of the pod that it is, where it is one."""
    deadline_s: float = DEADLINE_S
    """For each answer."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        """The answer. Raises `WeirError` in plain words."""
        try:
            return ask(self.address, path, body, self.deadline_s)
        except Unreachable as error:
            raise Unreachable(f"pod {self.pod}: {error}" if self.pod else str(error)) from error


@dataclass(frozen=True)
class ControlPlane:
    """Whom to ask, and of which objects.

    A verb that takes one is given the options of a cluster too, and the way to the replicas there
    is opened for it: see `reach`.
    """

    replicas: tuple[Replica, ...] = (Replica(),)
    """The one that decides first."""
    namespace: str | None = None
    """Objects of this one alone; None: of all."""
    names_in: str = "default"
    """The namespace of a name that says none."""
    given: bool = False
    """Whether a person said where it is."""
    left_out: tuple[str, ...] = ()
    """Replicas to which there is no way, and why."""

    @classmethod
    def at(cls, given: object) -> ControlPlane:
        """`HOST:PORT`, or several with commas. Raises `ConfigurationError`."""
        if isinstance(given, ControlPlane):
            return given  # the default, which is parsed too
        addresses = tuple(one.strip() for one in str(given).split(",") if one.strip())
        every = (str(Address.parse(one)) for one in addresses or ("",))
        return cls(tuple(map(Replica, every)), given=True)

    def __str__(self) -> str:
        return ",".join(one.address for one in self.replicas)

    def ask(self, path: str) -> Any:  # noqa: ANN401
        """The answer of the replica that decides. Raises `WeirError` in plain words."""
        return self.replicas[0].ask(path)

    def each(self, path: str) -> Iterator[Any]:
        """The answer of every replica. Raises `WeirError` at the first that gives none."""
        for one in self.replicas:
            yield one.ask(path)

    def find(self, path: str) -> Any:  # noqa: ANN401
        """The answer of the first replica that knows of it: an Envoy is connected to one of them.
        Raises `WeirError`."""
        for one in self.replicas[:-1]:
            try:
                return one.ask(path)
            except NotThere:
                continue
        return self.replicas[-1].ask(path)

    def full(self, name: str) -> str:
        """`namespace/name` of a name.

        >>> ControlPlane(names_in="shop").full("cart"), ControlPlane().full("shop/cart")
        ('shop/cart', 'shop/cart')
        """
        return name if "/" in name else f"{self.namespace or self.names_in}/{name}"

    def has(self, name: str) -> bool:
        """Whether an object, by its `namespace/name`, is one of those that are asked for."""
        return self.namespace is None or name.partition("/")[0] == self.namespace


HERE = ControlPlane()
WeirOption = Annotated[
    ControlPlane,
    typer.Option(
        "--admin-address",
        envvar="WEIR_ADMIN_ADDRESS",
        parser=ControlPlane.at,
        metavar="HOST:PORT",
        help="Admin address of the running control plane; of several replicas with commas, the "
        "one that decides first.",
    ),
]


def ask(
    address: str,
    path: str,
    body: dict[str, Any] | None = None,
    deadline_s: float = DEADLINE_S,
) -> Any:  # noqa: ANN401
    """GET (or POST, with a body) and the decoded answer. Raises `WeirError` in plain words."""
    raw = page(address, path, body, deadline_s)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise _unreachable(Address.parse(address), error) from error


def page(
    address: str,
    path: str,
    body: dict[str, Any] | None = None,
    deadline_s: float = DEADLINE_S,
    most_bytes: int = MOST_BYTES,
) -> bytes:
    """The same as it was sent. Raises `WeirError` in plain words, also when there is too much."""
    where = Address.parse(address)
    request = urllib.request.Request(
        f"http://{where}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=deadline_s) as answer:
            raw: bytes = answer.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        kind = NotThere if error.code == 404 else WeirError
        raise kind(f"{where}{path}: {_detail(error)}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise _unreachable(where, error) from error
    if len(raw) > most_bytes:
        raise WeirError(f"{where}{path}: more than {most_bytes} bytes")
    return raw


def _unreachable(where: Address, error: Exception) -> Unreachable:
    reason = getattr(error, "reason", error) or type(error).__name__
    return Unreachable(
        f"no answer from {where}: {reason}. Is `weir serve` running with that --admin-address?"
    )


def _detail(error: urllib.error.HTTPError) -> str:
    said = error.read(65_536).decode(errors="replace").strip()
    try:
        return str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}" + (f", {said.splitlines()[0][:200]}" if said else "")
