"""Keeps what the webhook is served with: the Secret, the configuration, and what is shown.

Every replica looks for itself, every so often. What is in the Secret counts: who would change it
names the version that it read, so that of several that come at once one is first and the others
take what it made. The CAs are written into the configuration before what they signed is shown, and
on the version that was read before the Secret was: what is written there is never older than what
another replica wrote (cert-controller has no such order, and calls fail while it turns:
open-policy-agent/cert-controller#13).
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from controlplane.kubernetes.documents import Object
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.resource import CONFIGURATIONS, SECRETS
from controlplane.kubernetes.webhook.certificates import Kept, Pair

logger = structlog.get_logger(__name__)

LOOK_S = 60.0
"""Between two looks: two reads each."""
AGAIN_S = 5.0
"""After one that failed."""
TRIES = 4
"""At most in one look, where others were faster."""


class Calls(Protocol):
    """The part of the client that is used."""

    async def get(self, path: str) -> Object:
        """What stands at a path. Raises `ApiError`."""
        ...

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """In its place, if nobody else changed it. Raises `ApiError`."""
        ...

    async def merge_lists(self, path: str, body: Mapping[str, Any]) -> Object:
        """Changes of fields, entries of lists by their names. Raises `ApiError`."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """Which objects."""

    configuration: str
    """The ValidatingWebhookConfiguration; all of its webhooks are ours."""
    namespace: str
    secret: str


class Upkeep:
    """One replica's part in it."""

    def __init__(
        self,
        api: Calls,
        where: Where,
        show: Callable[[Pair], None],
        *,
        wall_clock: Callable[[], float],
        chance: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`show` is told of each pair that is to be shown from now on."""
        self._api = api
        self._configuration = CONFIGURATIONS.path(name=where.configuration)
        self._secret = SECRETS.path(where.namespace, where.secret)
        self._show = show
        self._wall_clock = wall_clock
        self._chance = chance
        self._sleep = sleep
        self._shown: Pair | None = None
        self._told = ""

    async def run(self) -> None:
        """For ever."""
        while True:
            wait_s, why = LOOK_S, ""
            try:
                await self.look()
            except (ApiError, OSError) as error:  # OSError: of showing it, for want of descriptors
                wait_s, why = AGAIN_S, str(error)
            if why and why != self._told:
                logger.warning("the certificate of the webhook cannot be looked after", why=why)
            self._told = why
            await self._sleep(wait_s * self._chance.uniform(0.8, 1.0))

    async def look(self) -> None:
        """Once. Raises `ApiError`."""
        for left in reversed(range(TRIES)):
            try:
                await self._look()
                return
            except ApiError as error:
                if not error.conflict or not left:
                    raise  # otherwise somebody else was faster: take what they made

    async def _look(self) -> None:
        configuration = await self._api.get(self._configuration)
        secret = await self._api.get(self._secret)
        hooks = configuration.get("webhooks") or ()
        names = frozenset(_names(hooks))
        if not names:
            raise ApiError(0, f"{self._configuration}: no webhook in it says where it is")
        now = datetime.datetime.fromtimestamp(self._wall_clock(), datetime.UTC)
        kept = Kept.of(secret.get("data") or {})
        turned = kept.turned(names, now, self._shown)
        if turned is not kept:
            await self._api.replace(self._secret, {**secret, "data": turned.data()})
            if turned.newest != kept.newest:
                logger.info("a new certificate for the webhook", names=sorted(names))
            kept = turned
        await self._believe(configuration, base64.b64encode(kept.bundle).decode())
        shown = kept.shown(names, now)
        if shown is not None and shown != self._shown:
            self._show(shown)
            self._shown = shown

    async def _believe(self, configuration: Object, bundle: str) -> None:
        """Have the API servers believe these CAs."""
        hooks = configuration.get("webhooks") or ()
        stale = [one for one in hooks if one["clientConfig"].get("caBundle") != bundle]
        if not stale:
            return
        version = configuration["metadata"]["resourceVersion"]
        changed = [{"name": one["name"], "clientConfig": {"caBundle": bundle}} for one in stale]
        body = {"metadata": {"resourceVersion": version}, "webhooks": changed}
        await self._api.merge_lists(self._configuration, body)


def _names(hooks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The names by which API servers call us."""
    for one in hooks:
        client = one["clientConfig"]
        service = client.get("service")
        if service is not None:
            yield f"{service['name']}.{service['namespace']}.svc"
        elif host := urlsplit(str(client.get("url", ""))).hostname:
            yield host
