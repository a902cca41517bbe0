"""What each fleet would be sent, from documents alone: with equal weights, and with an address for
documentation in place of each name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controlplane.discovery.sets import endpoints_of
from controlplane.inspection.patching import patched
from controlplane.model import Grouping, Service, ServiceName, Snapshot, Verdict, Weights
from controlplane.resources import Declared, ObjectKey, services
from controlplane.translate import TranslateOptions, Translator

PLACEHOLDER = "192.0.2.1"
"""In place of the addresses of a name: reserved for documentation (RFC 5737)."""


def snapshots(declared: Declared) -> Sequence[Snapshot]:
    """What each fleet would be sent, with equal weights, and EnvoyPatches used."""
    return translated(declared)[0]


def translated(declared: Declared) -> tuple[Sequence[Snapshot], Mapping[ObjectKey, str]]:
    """The same, and the EnvoyPatches that do not fit, with the reason."""
    endpoints = {
        ServiceName(key): endpoints_of(backend, lambda hostname: (PLACEHOLDER,))
        for key, backend in declared.backends.items()
    }
    balanced = services(declared, endpoints)
    verdicts = {one.name: even(one) for one in balanced if one.endpoints}
    translator = Translator(TranslateOptions(patcher=patched))
    return translator.snapshots(declared, balanced, verdicts), translator.patch_faults


def even(service: Service) -> Verdict:
    """Equal weights, all in one group."""
    ids = tuple(endpoint.id for endpoint in service.endpoints)
    grouping = Grouping(ids, ("all",), np.zeros(len(ids), dtype=np.intp), by_locality=True)
    return Verdict(service, grouping, np.ones(1), Weights((1,)), changed=True)
