"""Why weights are held: by a person, here or at another replica, or as this one does not decide."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from controlplane.errors import StoreError
from controlplane.model import ServiceName
from controlplane.store import ALL, KillSwitch, Switched

logger = structlog.get_logger(__name__)

_MOST_TOLD = 20
"""Services in the log by name, when many are frozen or resumed at a time."""


class Frozen:
    """Looked at once a tick. What changed since the look before is told."""

    def __init__(
        self,
        switch: KillSwitch,
        *,
        elsewhere: Callable[[], Switched],
        why_not: Callable[[], str | None],
        tell: Callable[[Switched, Switched], None],
    ) -> None:
        """`elsewhere` is what is frozen at other replicas, `why_not` why this one does not decide;
        `tell` gets what was frozen here before and what is now, when that differs."""
        self._switch = switch
        self._elsewhere = elsewhere
        self._why_not = why_not
        self._tell = tell
        self._before = Switched()

    def look(self) -> Callable[[ServiceName], str | None]:
        """Why a service is held; None where it is not."""
        elsewhere = self._elsewhere()  # first: what is there no more may be here from now on
        here, why_not = self._switch.look(), self._why_not()
        if here is not self._before and here != self._before:
            _log(self._before, here)
            self._tell(self._before, here)
            self._before = here
        return lambda service: here.why(service) or elsewhere.why(service) or why_not

    def inherit(self, elsewhere: Switched) -> None:
        """What was frozen at a replica that is gone stays so, until somebody resumes."""
        here, wanted = self._switch.look(), dict(elsewhere.services)
        if elsewhere.all is not None:
            wanted[ALL] = elsewhere.all
        for service, why in wanted.items():
            if (here.all if service == ALL else here.services.get(service)) is None:
                try:
                    self._switch.freeze(why, by="a replica that is gone", service=service)
                except StoreError as error:
                    logger.error("frozen, but not over a restart", why=str(error))


def _log(before: Switched, now: Switched) -> None:
    """A line for what was frozen and what was resumed, by whatever way."""
    if now.all is not None and now.all != before.all:
        logger.warning("frozen: all services", why=now.all)
    if now.all is None and before.all is not None:
        logger.warning("resumed: all services", frozen_still=len(now.services))
    frozen = sorted(now.services.items() - before.services.items())
    resumed = sorted(before.services.keys() - now.services.keys())
    for service, why in frozen[:_MOST_TOLD]:
        logger.warning("frozen", service=service, why=why)
    for service in resumed[:_MOST_TOLD]:
        logger.warning("resumed", service=service)
    if more := len(frozen[_MOST_TOLD:]) + len(resumed[_MOST_TOLD:]):
        logger.warning("frozen or resumed: more services", services=more)
