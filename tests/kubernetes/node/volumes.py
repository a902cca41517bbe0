"""Volumes of a pod as folders of this machine."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]
Get = Callable[[str], Awaitable[Object]]
"""What stands at a path of the API."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_MODE = 0o644
_DATA = "..data"


class Volume:
    """One volume. Where its Secret or ConfigMap changes, all of its files change at once: they are
    links through `..data`, which is swapped, as the kubelet does it.
    """

    def __init__(self, volume: Object, namespace: str, folder: Path) -> None:
        """Raises `LookupError` for a kind that is not played here."""
        self.folder = folder
        self._source: Object = volume.get("secret") or volume.get("configMap") or {}
        home = f"/api/v1/namespaces/{namespace}"
        self._path, self._binary = "", "secret" in volume
        if self._binary:
            self._path = f"{home}/secrets/{self._source['secretName']}"
        elif "configMap" in volume:
            self._path = f"{home}/configmaps/{self._source['name']}"
        elif "emptyDir" not in volume:
            raise LookupError(f"volume {volume['name']}: neither secret, configMap nor emptyDir")
        self._version = ""
        folder.mkdir(parents=True)

    async def refresh(self, get: Get) -> None:
        """Take over what is new."""
        if not self._path:
            return
        found = await get(self._path)
        if found["metadata"]["resourceVersion"] != self._version:
            self._version = found["metadata"]["resourceVersion"]
            self._put(found.get("data") or {})

    def _put(self, data: Mapping[str, str]) -> None:
        items = self._source.get("items")
        paths = {one["key"]: one["path"] for one in items} if items else {key: key for key in data}
        mode = int(self._source.get("defaultMode", DEFAULT_MODE))
        fresh = self.folder / f"..{self._version}"
        fresh.mkdir()
        for key, path in paths.items():
            if key not in data:
                raise LookupError(f"references non-existent key: {key}")  # as the kubelet says it
            content = base64.b64decode(data[key]) if self._binary else data[key].encode()
            (fresh / path).write_bytes(content)
            (fresh / path).chmod(mode)
        draft = self.folder / "..data_tmp"
        draft.symlink_to(fresh.name)
        os.replace(draft, self.folder / _DATA)
        for path in paths.values():
            if not (self.folder / path).is_symlink():
                (self.folder / path).symlink_to(Path(_DATA) / path)


def account(namespace: str, token: str, ca: bytes, folder: Path) -> Path:
    """What a pod is given to speak with the API."""
    folder.mkdir(parents=True)
    for name, content in (("token", token.encode()), ("namespace", namespace.encode())):
        (folder / name).write_bytes(content)
    (folder / "ca.crt").write_bytes(ca)
    return folder
