"""Which fleet an Envoy is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

OVERLAY = "overlay"
"""The fleet of every Envoy that is of no declared Gateway: it keeps its own configuration. A
Gateway's name has a slash in it."""


def fleet_of(gateways: Iterable[str]) -> Callable[[str], str]:
    """`node.cluster` to the fleet, which is named as its Gateway: `namespace/name`.

    The bare name will do where it is unique.

    >>> of = fleet_of(["default/edge", "a/inner", "b/inner"])
    >>> of("default/edge"), of("edge"), of("inner"), of("a/inner")
    ('default/edge', 'default/edge', 'overlay', 'a/inner')
    """
    keys = sorted(gateways)
    bare = [key.partition("/")[2] for key in keys]
    fleets = {short: key for short, key in zip(bare, keys, strict=True) if bare.count(short) == 1}
    fleets.update({key: key for key in keys})
    return lambda cluster: fleets.get(cluster, OVERLAY)
