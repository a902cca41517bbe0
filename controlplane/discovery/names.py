"""What is known of one name, from lookup to lookup. Pure: the clock and chance are arguments."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""The addresses of a name, none where it does not exist; `OSError` when that cannot be known."""


@dataclass(frozen=True, slots=True)
class NameSettings:
    """How names are followed."""

    period_s: float = 30.0
    """Between two lookups of a name that resolves. The resolver of the system says no TTL."""
    jitter: float = 0.2
    """Part of the period by which it is shortened or lengthened by chance."""
    retry_s: float = 1.0
    """After the first lookup that failed; doubled with each that follows, up to the period."""
    grace_s: float = 300.0
    """A name that resolves to nothing keeps its last addresses for this long."""
    debounce_s: float = 0.1
    """Answers that come within this time are passed on together."""


@dataclass(frozen=True, slots=True)
class Name:
    """One name."""

    addresses: tuple[str, ...] = ()
    """The last that were resolved, however long ago."""
    tried: bool = False
    """A lookup has ended, well or not."""
    due_s: float = 0.0
    """When to look it up next."""
    failures: int = 0
    """Lookups in a row that gave nothing."""
    empty_since_s: float | None = None
    """Since when it certainly resolves to nothing."""

    def gone(self, now_s: float, settings: NameSettings) -> bool:
        """Whether it has resolved to nothing for longer than the grace period."""
        return self.empty_since_s is not None and now_s - self.empty_since_s >= settings.grace_s

    def after(
        self,
        answer: tuple[str, ...] | None,
        now_s: float,
        chance: random.Random,
        settings: NameSettings,
    ) -> Name:
        """What is known after a lookup; None: it failed, and nothing new is known."""
        spread = 1.0 + settings.jitter * chance.uniform(-1.0, 1.0)
        if answer:
            return Name(answer, tried=True, due_s=now_s + settings.period_s * spread)
        wait_s = min(settings.period_s, settings.retry_s * 2.0 ** min(self.failures, 16))
        empty_since_s = self.empty_since_s
        if answer is not None and empty_since_s is None:
            empty_since_s = now_s
        return replace(
            self,
            tried=True,
            due_s=now_s + wait_s * spread,
            failures=self.failures + 1,
            empty_since_s=empty_since_s,
        )
