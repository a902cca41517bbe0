"""Uses `EnvoyPatch` on the resources of a Gateway, and keeps what last worked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping

from controlplane.errors import WeirError
from controlplane.resources.declared import Declared, ObjectKey
from controlplane.resources.envoy_patch import EnvoyPatch

Patcher = Callable[[str, str, bytes, EnvoyPatch], bytes]
"""Type, name and body of a resource, and a patch, to the body after it. Raises `WeirError`."""

NOT_ENABLED = "patches are not enabled: weir serve --envoy-patches"

_Place = tuple[str, str]
"""Type and name of a resource."""


class Patches:
    """A patch that does not fit is not used: its last version that did is, where there is one."""

    def __init__(self, patcher: Patcher | None) -> None:
        self._patcher = patcher
        self._good: dict[ObjectKey, EnvoyPatch] = {}
        self._made: dict[tuple[ObjectKey, _Place], tuple[EnvoyPatch, bytes, bytes]] = {}
        self.faults: Mapping[ObjectKey, str] = {}
        """Why a patch, as it is written now, is not used."""

    def use(
        self, declared: Declared, fleets: Mapping[str, Mapping[str, MutableMapping[str, bytes]]]
    ) -> None:
        """Change these resources: by Gateway, type and name."""
        every = declared.all(EnvoyPatch)
        keys = {ObjectKey("EnvoyPatch", key) for key in every}
        self._good = {key: one for key, one in self._good.items() if key in keys}
        self._made = {place: one for place, one in self._made.items() if place[0] in keys}
        faults: dict[ObjectKey, str] = {}
        for patch in sorted(every.values(), key=lambda one: (one.spec.priority, one.age_order)):
            key = ObjectKey("EnvoyPatch", patch.key)
            if self._patcher is None:
                faults[key] = NOT_ENABLED
            elif patch.gateway in fleets:
                fault = self._one(self._patcher, key, patch, fleets[patch.gateway])
                if fault:
                    faults[key] = fault
        self.faults = faults

    def _one(
        self,
        patcher: Patcher,
        key: ObjectKey,
        patch: EnvoyPatch,
        fleet: Mapping[str, MutableMapping[str, bytes]],
    ) -> str:
        """Use one whole, or its last good version whole, or nothing; why it is not the first."""
        try:
            made = self._outcome(patcher, key, patch, fleet)
        except WeirError as error:
            fault = str(error)
        else:
            self._good[key] = patch
            _put(made, fleet)
            return ""
        before = self._good.get(key)
        if before is None or before is patch or before.gateway != patch.gateway:
            return fault
        try:
            _put(self._outcome(patcher, key, before, fleet), fleet)
        except WeirError:
            return fault
        return f"{fault}; its last good version is used"

    def _outcome(
        self,
        patcher: Patcher,
        key: ObjectKey,
        patch: EnvoyPatch,
        fleet: Mapping[str, Mapping[str, bytes]],
    ) -> dict[_Place, bytes]:
        made: dict[_Place, bytes] = {}
        for place in dict.fromkeys(_places(patch)):
            type_url, name = place
            body = fleet.get(type_url, {}).get(name)
            if body is None:
                raise WeirError(f"there is no {type_url.rpartition('.')[2]} {name}")
            kept = self._made.get((key, place))
            if kept is None or kept[0] is not patch or kept[1] != body:
                try:
                    after = patcher(type_url, name, body, patch)
                except WeirError as error:
                    raise WeirError(f"{type_url.rpartition('.')[2]} {name}: {error}") from error
                kept = self._made[key, place] = (patch, body, after)
            made[place] = kept[2]
        return made


def _places(patch: EnvoyPatch) -> Iterator[_Place]:
    for one in (*patch.spec.json_patches, *patch.spec.merge_patches):
        yield one.type, one.name


def _put(made: Mapping[_Place, bytes], fleet: Mapping[str, MutableMapping[str, bytes]]) -> None:
    for (type_url, name), body in made.items():
        fleet[type_url][name] = body
