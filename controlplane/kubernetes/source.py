"""Documents from the API of Kubernetes: one `Loaded` for each change, as from a folder.

Each object is a file with one document (`documents`), and all of them are loaded by the same code
as the files of a folder (`resources.load`). Nothing is told before every kind was listed once: half
of what is declared would take away the other half. After that, what is known stays in force however
long the server is gone.

What is in force is kept for the next start. A start begins with it: what was refused before it is
refused after it, with the same last valid version in force; and where the lists do not come within
a wait it is told as it is, and said to be stale, until they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog

from controlplane.errors import StoreError
from controlplane.kubernetes.client import Api
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.keeping import Keeper, Keeps
from controlplane.kubernetes.objects import Held, Objects
from controlplane.kubernetes.referred import HOLDERS, Referred
from controlplane.kubernetes.reflector import Reflector, Times
from controlplane.kubernetes.resource import Resource, served, wanted
from controlplane.resources.declared import ObjectKey
from controlplane.resources.kept import Kept, restored, stale
from controlplane.resources.kinds import kind_of, versions_of
from controlplane.resources.load import Files, Loaded, load

logger = structlog.get_logger(__name__)

DEBOUNCE_S = 0.03
"""Changes that come together are one."""
TELL_S = 10.0
"""How often is said what a start still waits for."""
DISCOVERY_S = 60.0
"""How often is looked whether a kind that was not served now is."""
WAIT_S = 10.0
"""How long a start waits for the lists before what was kept is told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was loaded, and the objects that it was loaded from."""

    loaded: Loaded = field(default_factory=Loaded)
    held: Mapping[ObjectKey, Held] = field(default_factory=dict)


class KubernetesSource:
    """Follows every kind that is served and declared by people, or by Kubernetes for them."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str = "",
        clock: Callable[[], float],
        chance: random.Random,
        times: Times | None = None,
        debounce_s: float = DEBOUNCE_S,
        relisted: Callable[[str], None] = lambda kind: None,
        keeps: Keeps | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        """`namespace`: this one alone; empty: all of the cluster. `keeps`: where what is declared
        is kept for the next start; None: nowhere."""
        self._api = api
        self._namespace = namespace
        self._clock = clock
        self._chance = chance
        self._times = times or Times()
        self._debounce_s = debounce_s
        self._relisted = relisted
        self._keeps = keeps
        self._keeper = Keeper(keeps, clock=clock) if keeps is not None else None
        self._wait_s = wait_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._finding: list[asyncio.Task[None]] = []
        self.stale: Loaded | None = None
        """What an earlier process kept, while it is told for want of lists."""
        self.objects = Objects()
        self.seen = Seen()
        """The newest that was told."""

    async def watch(self, policies: Collection[str] | None = None) -> AsyncGenerator[Loaded]:
        """First what is there, then one `Loaded` each time something else is in force or wrong."""
        listing = asyncio.create_task(self._list_all(), name="first lists")
        tasks = [listing]
        if self._keeper is not None:
            tasks.append(asyncio.create_task(self._keeper.run(), name="keeper"))
        try:
            kept, loaded = await self._restored(policies)
            if kept is not None and not await _within(self._wait_s, listing):
                self.stale = stale(loaded, f"no complete lists within {self._wait_s:g} s")
                logger.warning(
                    "the API of Kubernetes does not answer: serving what was declared before",
                    left_alone=sorted(loaded.declared.left_alone),
                )
                yield self.stale
            await listing
            kept = kept or Kept(self._name, {})
            files, holders, meant = dict(kept.documents), frozenset[ObjectKey](), Referred()
            first = True
            while True:
                self.objects.changed.clear()
                held = self.objects.all()
                now = _files(held, holders)
                if first or now != files:
                    before = files
                    loaded, files, holders = await asyncio.to_thread(
                        _load, loaded, held, holders, meant, policies
                    )
                    first = False
                    kept = Kept(self._name, files, _earlier(loaded, before, kept.earlier))
                    self._know(Seen(loaded, held), kept)
                    yield loaded
                await self._news()
                await asyncio.sleep(self._debounce_s)
        finally:
            tasks += [*self._finding, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _name(self) -> str:
        """Whose objects these are."""
        return f"{self._api.host} {self._namespace or '*'}"

    async def _restored(self, policies: Collection[str] | None) -> tuple[Kept | None, Loaded]:
        """What an earlier process kept, and what is in force by it."""
        try:
            kept = await asyncio.to_thread(self._keeps.load) if self._keeps is not None else None
        except StoreError as error:
            logger.warning("what was declared before is not known", why=str(error))
            return None, Loaded()
        if kept is not None and kept.source != self._name:
            logger.info("what was declared before is of another cluster", source=kept.source)
            kept = None
        if kept is None:
            return None, Loaded()
        return kept, await asyncio.to_thread(restored, kept, policies)

    def _know(self, seen: Seen, kept: Kept) -> None:
        """This is declared, by complete lists."""
        self.seen = seen
        if self.stale is not None:
            logger.info("the API of Kubernetes answered: what is declared is known again")
            self.stale = None
        if self._keeper is not None:
            self._keeper.put(kept)

    async def _list_all(self) -> None:
        """Follow every kind that is served, until each was listed once."""
        resources = await self._resources()
        self.objects = Objects(resources.values())
        for one in resources.values():
            self._follow(one)
        self._finding.append(asyncio.create_task(self._find(resources), name="kinds"))
        await self._all_listed()

    async def _news(self) -> None:
        """Until something changed. A reflector that ends by itself is a fault."""
        waiting = asyncio.create_task(self.objects.changed.wait(), name="news")
        try:
            done, _ = await asyncio.wait(
                {waiting, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        finally:
            waiting.cancel()

    async def _all_listed(self) -> None:
        while self.objects.missing:
            try:
                async with asyncio.timeout(TELL_S):
                    await self._news()
            except TimeoutError:
                logger.info("waiting for lists", kinds=sorted(self.objects.missing))
            self.objects.changed.clear()

    async def _resources(self) -> dict[str, Resource]:
        """The kinds that are served, once the server can be asked."""
        failures = 0
        while True:
            try:
                return await self._served()
            except ApiError as error:
                wait_s = min(self._times.longest_s, self._times.first_s * 2.0 ** min(failures, 16))
                failures += 1
                logger.warning("the API of Kubernetes cannot be asked", why=str(error))
                await asyncio.sleep(wait_s * self._chance.uniform(0.5, 1.0))

    async def _served(self) -> dict[str, Resource]:
        models = tuple(wanted(bool(self._namespace)))
        lists = {}
        for api in sorted({api for model in models for api in versions_of(model)}):
            try:
                path = f"/apis/{api}" if "/" in api else f"/api/{api}"
                lists[api] = await self._api.get(path)
            except ApiError as error:
                if not error.missing:
                    raise
        found = {kind_of(model): served(model, lists) for model in models}
        return {kind: one for kind, one in found.items() if one is not None}

    async def _find(self, known: Mapping[str, Resource]) -> None:
        """Kinds whose definitions are installed later."""
        kinds = {kind_of(model) for model in wanted(bool(self._namespace))}
        if missing := sorted(kinds - known.keys()):
            logger.warning("kinds that the server does not know are not followed", kinds=missing)
        followed = set(known)
        while followed < kinds:
            await asyncio.sleep(DISCOVERY_S)
            with contextlib.suppress(ApiError):
                for kind, one in (await self._served()).items():
                    if kind not in followed:
                        logger.info("a kind is served now", kind=kind)
                        followed.add(kind)
                        self._follow(one)

    def _follow(self, resource: Resource) -> None:
        reflector = Reflector(
            self._api,
            resource,
            self._namespace,
            self.objects,
            clock=self._clock,
            chance=self._chance,
            times=self._times,
            relisted=self._relisted,
        )
        task = asyncio.create_task(reflector.run(), name=f"reflector {resource.kind}")
        self._tasks[resource.kind] = task


def _files(held: Mapping[ObjectKey, Held], holders: Collection[ObjectKey]) -> dict[str, bytes]:
    """One for each object; of Secrets and ConfigMaps those alone that are referred to."""
    return {
        one.file: one.document
        for key, one in held.items()
        if key.kind not in HOLDERS or key in holders
    }


def _load(
    before: Loaded,
    held: Mapping[ObjectKey, Held],
    holders: frozenset[ObjectKey],
    referred: Referred,
    policies: Collection[str] | None,
) -> tuple[Loaded, dict[str, bytes], frozenset[ObjectKey]]:
    """Also which Secrets and ConfigMaps were meant: who refers to them is known when it is read."""
    files = _files(held, holders)
    loaded = load(before, _as_files(files), policies)
    meant = referred.by(loaded.declared)
    if any(key in held for key in meant ^ holders):
        files = _files(held, meant)
        loaded = load(loaded, _as_files(files), policies)
    return loaded, files, meant


def _earlier(
    loaded: Loaded, before: Mapping[str, bytes], earlier: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Of the documents that are refused, the version that is in force: what stood there in the
    pass before, unless that was refused too."""
    found: dict[str, bytes] = {}
    for file in {one.file for one in loaded.refusals}:
        kind, _, name = file.partition("/")
        valid = earlier.get(file, before.get(file))
        if valid is not None and name in loaded.declared.by_kind.get(kind, {}):
            found[file] = valid
    return found


async def _within(wait_s: float, task: asyncio.Task[None]) -> bool:
    """Whether it ends within the wait. It goes on where it does not."""
    done, _ = await asyncio.wait({task}, timeout=wait_s)
    return bool(done)


def _as_files(files: Mapping[str, bytes]) -> Files:
    return dict(files)
