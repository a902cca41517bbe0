"""The kill switch of several replicas: what a person froze at any of them is frozen.

Each keeps what was frozen there, and there it is resumed. What was frozen at a replica that is gone
is kept by the one that decides, or by the one that takes over from it, so that nobody but a person
resumes it.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.model import ServiceName
from controlplane.replicas.messages import Frozen
from controlplane.store import Switched


def frozen(switched: Switched) -> Frozen:
    """As it travels."""
    return Frozen(switched.all, {str(name): why for name, why in switched.services.items()})


def joined(each: Mapping[str, Frozen]) -> Switched:
    """What is frozen at any of these replicas.

    >>> joined({"a": Frozen(), "b": Frozen(None, {"shop/web": "slow (by kim)"})}).services
    {'shop/web': 'slow (by kim), at replica b'}
    """
    everything: str | None = None
    services: dict[ServiceName, str] = {}
    for replica, one in each.items():
        if one.all is not None and everything is None:
            everything = f"{one.all}, at replica {replica}"
        for name, why in one.services.items():
            services.setdefault(ServiceName(name), f"{why}, at replica {replica}")
    return Switched(everything, services)
