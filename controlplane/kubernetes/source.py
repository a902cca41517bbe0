"""Documents from the API of Kubernetes: one `Loaded` for each change, as from a folder.

Each object is a file with one document (`documents`), and all of them are loaded by the same code
as the files of a folder (`resources.load`). Nothing is told before every kind was listed once: half
of what is declared would take away the other half. After that, what is known stays in force however
long the server is gone.

What is in force is kept for the next start. A start begins with it: what was refused before it is
refused after it, with the same last valid version in force; and where the lists do not come within
a wait it is told as it is, and said to be stale, until they do.

Of what is refused other replicas may have a last valid version that is newer, or that is not known
here at all, as where a pod is new: they are heard (`hear`), and a start with anything refused waits
for them before it tells anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import structlog

from controlplane.errors import StoreError
from controlplane.kubernetes.client import Api
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.keeping import Keeper, Keeps
from controlplane.kubernetes.objects import Held, Objects
from controlplane.kubernetes.passes import Pass, files_of, look
from controlplane.kubernetes.referred import Referred
from controlplane.kubernetes.reflector import Reflector, Times
from controlplane.kubernetes.resource import Resource, served, wanted
from controlplane.resources.declared import ObjectKey
from controlplane.resources.earlier import Earlier, Heard, Said, offered, refused
from controlplane.resources.kept import Kept, restored, stale
from controlplane.resources.kinds import kind_of, versions_of
from controlplane.resources.load import Loaded

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
        informed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`namespace`: this one alone; empty: all of the cluster. `keeps`: where what is declared
        is kept for the next start; None: nowhere. `informed` waits until others have said which
        last valid versions they know; None: there are no others."""
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
        self._informed = informed
        self._heard = Heard()
        self._left_out = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._finding: list[asyncio.Task[None]] = []
        self.stale: Loaded | None = None
        """What an earlier process kept, while it is told for want of lists."""
        self.objects = Objects()
        self.seen = Seen()
        """The newest that was told."""
        self.offered: Mapping[str, Earlier] = {}
        """The last valid versions of what is refused here, for others; another one when changed."""

    def hear(self, told: Mapping[str, Earlier], *, leads: bool) -> None:
        """Others have these. `leads`: whoever decides does."""
        if left_out := self._heard.hear(told, leads=leads):
            logger.warning("too much to remember: versions of others are not taken", of=left_out)
        if self._heard.news:
            self.objects.changed.set()

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
            earlier = {file: Earlier(one) for file, one in kept.earlier.items()}
            known, meant = Pass(loaded, kept.documents, earlier=earlier), Referred()
            first, asked = True, False
            while True:
                self.objects.changed.clear()
                held = self.objects.all()
                if first or self._heard.news or files_of(held, known.holders) != known.files:
                    before, said = known, self._heard.said()
                    known = await asyncio.to_thread(look, before, held, said, meant, policies)
                    self._forget(known, said)
                    self._offer(known)
                    if first and known.loaded.refusals and not asked:
                        asked = True
                        await self._ask(known)
                        continue
                    if first or known.differs(before):
                        first = False
                        self._know(known)
                        yield known.loaded
                    else:
                        known = replace(known, loaded=before.loaded)
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

    def _forget(self, known: Pass, said: Mapping[str, Said]) -> None:
        """What others said and cannot be used, or not any more."""
        for file in sorted(known.unusable):
            logger.warning("what another replica has as a last valid version is none", of=file)
        self._heard.forget({file: said[file] for file in known.past | known.unusable})

    async def _ask(self, known: Pass) -> None:
        """Others, if there are any, may have the last valid version of what is refused here."""
        if self._informed is not None:
            files = sorted(refused(known.loaded))
            logger.info("refused: other replicas are asked for the last valid versions", of=files)
            await self._informed()

    def _offer(self, known: Pass) -> None:
        self.offered = offered(known.earlier)
        left_out = len(known.earlier) - len(self.offered)
        if left_out > self._left_out:
            logger.warning("too much to tell: other replicas do not hear of all", left_out=left_out)
        self._left_out = left_out

    def _know(self, known: Pass) -> None:
        """This is declared, by complete lists."""
        self.seen = Seen(known.loaded, known.held)
        if self.stale is not None:
            logger.info("the API of Kubernetes answered: what is declared is known again")
            self.stale = None
        if self._keeper is not None:
            self._keeper.put(Kept(self._name, known.files, known.kept()))

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


async def _within(wait_s: float, task: asyncio.Task[None]) -> bool:
    """Whether it ends within the wait. It goes on where it does not."""
    done, _ = await asyncio.wait({task}, timeout=wait_s)
    return bool(done)
