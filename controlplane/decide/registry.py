"""Policies by name, as installed distributions offer them (entry points `controlplane.policies`).

Our own come in by the same door. An entry point names a class that is built without arguments,
or with `base=`, an analytic policy, where it takes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from controlplane.errors import PolicyError, PolicyLoadError, UnknownPolicyError
from controlplane.model.residual import BASE
from controlplane.ports import WeightPolicy

GROUP = "controlplane.policies"
Maker = Callable[[], Any]
"""Gives the class of a policy; may raise whatever importing a stranger's module raises."""


class Policies:
    """Each policy is built once, when it is first asked for."""

    def __init__(self, makers: Mapping[str, Maker]) -> None:
        self._makers = dict(makers)
        self._built: dict[str, WeightPolicy] = {}

    @classmethod
    def installed(cls) -> Policies:
        """Those of all installed distributions."""
        return cls({point.name: point.load for point in entry_points(group=GROUP)})

    @property
    def names(self) -> tuple[str, ...]:
        """What there is, in alphabetical order."""
        return tuple(sorted(self._makers))

    def get(self, name: str) -> WeightPolicy:
        """The policy of this name.

        Raises `UnknownPolicyError` when none is installed and `PolicyLoadError` when it is but
        cannot be had. A failure is not remembered: a release may be put right while we run.
        """
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> WeightPolicy:
        if name not in self._makers:
            raise UnknownPolicyError(
                f"no policy {name!r} is installed; there are: {', '.join(self.names) or 'none'}"
            )
        try:
            made = self._makers[name]()
            takes_base = "base" in inspect.signature(made).parameters
            policy = made(base=self.get(BASE)) if takes_base else made()
        except PolicyError:
            raise
        except Exception as error:  # the edge to code of other distributions
            raise PolicyLoadError(f"policy {name!r} cannot be built: {error!r}") from error
        if not callable(getattr(policy, "propose", None)):
            raise PolicyLoadError(f"policy {name!r} has no method `propose(situations)`")
        return policy  # type: ignore[no-any-return]
