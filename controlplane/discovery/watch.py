"""Following what is declared and what names resolve to, as one stream of complete sets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping

import structlog

from controlplane.discovery.names import Name, NameSettings, Resolve
from controlplane.discovery.sets import endpoints_of, hostnames
from controlplane.model import Endpoint, ServiceName
from controlplane.resources.backend import Backend
from controlplane.resources.declared import Declared

logger = structlog.get_logger(__name__)

Sets = Mapping[ServiceName, tuple[Endpoint, ...]]

LOOKUPS_AT_ONCE = 16
LONGEST_WAIT_S = 60.0


class Discovery:
    """An `EndpointSource`. `declare` may be called at any time, `watch` belongs to one task.

    - Addresses are in force as soon as they are declared, and gone as soon as they are not.
    - A name keeps its last addresses while it cannot be resolved, however long that lasts, and for
      a grace period while it resolves to nothing; beyond that only if the Backend has others.
    - A Backend of which nothing is known yet is left out.
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        clock: Callable[[], float],
        chance: random.Random,
        settings: NameSettings | None = None,
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`known` are addresses of names from an earlier life, used until they are resolved."""
        self._resolve = resolve
        self._clock = clock
        self._chance = chance
        self._settings = settings or NameSettings()
        self._names = {host: Name(addresses) for host, addresses in (known or {}).items()}
        self._declared: Declared | None = None
        self._news = asyncio.Event()
        self._lookups: dict[str, asyncio.Task[tuple[str, ...] | None]] = {}
        self._backends: Mapping[str, Backend] = {}
        """Those that were looked at."""
        self._hosts: dict[str, tuple[str, ...]] = {}
        """The names in them, of those that have any."""
        self._stale: set[str] = set()
        """Those whose endpoints are to be made anew."""
        self._made: dict[ServiceName, tuple[Backend, tuple[Endpoint, ...]]] = {}

    def declare(self, declared: Declared) -> None:
        """This is what the documents say from now on. Never blocks; the newest counts."""
        self._declared = declared
        self._news.set()

    @property
    def addresses(self) -> Mapping[str, tuple[str, ...]]:
        """What the names resolve to, to be given as `known` in the next life."""
        return {host: name.addresses for host, name in self._names.items() if name.addresses}

    async def watch(self) -> AsyncGenerator[Sets]:
        """The complete sets each time they change or something else is declared; first when every
        name has been looked up once, however that ended.
        """
        given: Sets | None = None
        try:
            while True:
                told = self._news.is_set()
                self._news.clear()
                if self._declared is not None:
                    self._look_at(self._declared.backends)
                    self._start_lookups()
                    if given is not None or self._all_tried():
                        sets = self._sets()
                        if told or sets != given:
                            if given is not None and not told and self._lookups:
                                await asyncio.sleep(self._settings.debounce_s)
                                self._collect()
                                self._look_at(self._declared.backends)
                                self._start_lookups()
                                sets = self._sets()
                            given = sets
                            yield sets
                await self._wait()
                self._collect()
        finally:
            for task in self._lookups.values():
                task.cancel()
            await asyncio.gather(*self._lookups.values(), return_exceptions=True)
            self._lookups.clear()

    def _look_at(self, backends: Mapping[str, Backend]) -> None:
        """These are declared now; of those that changed the names are to be known."""
        before, self._backends = self._backends, backends
        if backends is before:
            return
        changed = [key for key, one in backends.items() if before.get(key) is not one]
        self._stale.update(changed, before.keys() - backends.keys())
        for key in self._stale:
            self._hosts.pop(key, None)
            names = tuple(hostnames(backends[key])) if key in backends else ()
            if names:
                self._hosts[key] = names

    def _start_lookups(self) -> None:
        wanted = {host for names in self._hosts.values() for host in names}
        for host in self._names.keys() - wanted:
            del self._names[host]
        now_s = self._clock()
        due = [host for host in wanted if self._names.setdefault(host, Name()).due_s <= now_s]
        for host in sorted(due, key=lambda one: self._names[one].due_s):
            if len(self._lookups) >= LOOKUPS_AT_ONCE:
                break
            if host not in self._lookups:
                self._lookups[host] = asyncio.create_task(self._look_up(host), name=f"dns {host}")

    async def _look_up(self, host: str) -> tuple[str, ...] | None:
        try:
            return tuple(sorted(set(await self._resolve(host))))
        except OSError as error:
            logger.warning("a name cannot be resolved", name=host, why=str(error) or repr(error))
            return None

    def _collect(self) -> None:
        """Take up the lookups that have ended."""
        now_s = self._clock()
        for host, task in list(self._lookups.items()):
            if task.done():
                del self._lookups[host]
                answer = task.result()
                if host in self._names:
                    name = self._names[host].after(answer, now_s, self._chance, self._settings)
                    if answer == () and name.failures == 1:
                        logger.warning("a name resolves to nothing", name=host)
                    self._names[host] = name

    async def _wait(self) -> None:
        """Until something is declared, a lookup ends, or one is due."""
        waiting = [name.due_s for host, name in self._names.items() if host not in self._lookups]
        wait_s = LONGEST_WAIT_S
        if waiting and len(self._lookups) < LOOKUPS_AT_ONCE:
            wait_s = min(wait_s, max(0.0, min(waiting) - self._clock()))
        news = asyncio.create_task(self._news.wait(), name="news")
        try:
            await asyncio.wait(
                {news, *self._lookups.values()},
                timeout=wait_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            news.cancel()

    def _all_tried(self) -> bool:
        return all(self._names[host].tried for names in self._hosts.values() for host in names)

    def _sets(self) -> Sets:
        for key in self._stale.union(self._hosts):
            name, backend = ServiceName(key), self._backends.get(key)
            before = self._made.pop(name, None)
            if backend is None:
                continue
            endpoints = self._endpoints(backend)
            if not endpoints and backend.spec.endpoints:
                if before is None:
                    continue  # nothing is known of it yet
                endpoints = before[1]
            if before is not None and before[1] == endpoints:
                endpoints = before[1]
            self._made[name] = (backend, endpoints)
        self._stale.clear()
        return {name: endpoints for name, (_, endpoints) in self._made.items()}

    def _endpoints(self, backend: Backend) -> tuple[Endpoint, ...]:
        now_s = self._clock()
        live = endpoints_of(
            backend,
            lambda host: (
                () if (name := self._names[host]).gone(now_s, self._settings) else name.addresses
            ),
        )
        return live or endpoints_of(backend, lambda host: self._names[host].addresses)
