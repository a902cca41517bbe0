"""What was declared, kept over a restart, for a start while the API of Kubernetes is gone.

One file, `declared`, written whole, flushed and renamed: a line of JSON that says how it is written
and has the digest of the rest; then, sealed or not, a line with the names and a document a line.
Reading believes nothing in it: one that is too large, torn, changed or of another version is
refused whole. The file is its owner's alone, and holds Secrets only where there is a key: then all
of it is sealed with AES-256-GCM (NIST SP 800-38D), a nonce by chance for each write.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlplane.errors import ConfigurationError, StoreError
from controlplane.resources.kept import Kept

VERSION = 1
"""Raise it when the meaning of the file changes; one of another version is left alone."""
MOST_BYTES = 64 * 1024 * 1024
_KEY_BYTES = 32
_MOST_KEYS = 8
_NONCE_BYTES = 12
_MOST_HEAD = 1024
_BOUND_TO = b"weir declared 1"
"""What a sealed text is good for, and for nothing else."""


class StateKeys:
    """Keys that the state is sealed with: the first seals, each of them opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises `ValueError` for keys that are none."""
        if not 0 < len(keys) <= _MOST_KEYS or any(len(one) != _KEY_BYTES for one in keys):
            raise ValueError(f"want 1 to {_MOST_KEYS} keys of {_KEY_BYTES} bytes")
        self._keys = tuple(keys)

    @classmethod
    def read(cls, path: Path) -> StateKeys:
        """A line in base64 for each, as `openssl rand -base64 32` makes them; the newest first.
        Raises `ConfigurationError`."""
        advice = f"want a line of base64 with {_KEY_BYTES} bytes for each: openssl rand -base64 32"
        try:
            lines = path.read_text(encoding="ascii").split()
            return cls([base64.b64decode(one, validate=True) for one in lines])
        except OSError as error:
            raise ConfigurationError(f"state key {path}: {error.strerror or error}") from error
        except (ValueError, binascii.Error):  # what it holds is in no message
            raise ConfigurationError(f"state key {path}: it is none; {advice}") from None

    # `cryptography` takes a while to load, and few have a key.

    def seal(self, text: bytes) -> bytes:
        """Nobody reads it without the key, or changes it unseen."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._keys[0]).encrypt(nonce, text, _BOUND_TO)

    def open(self, sealed: bytes) -> bytes:
        """Raises `ValueError` where none of the keys fits."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        for key in self._keys:
            with contextlib.suppress(InvalidTag):
                return AESGCM(key).decrypt(nonce, rest, _BOUND_TO)
        raise ValueError("it is sealed with another key")


class DeclaredFile:
    """`declared` in the state folder."""

    def __init__(self, folder: Path, keys: StateKeys | None = None) -> None:
        """Without `keys` Secrets are left out."""
        self._path = folder / "declared"
        self._keys = keys

    def load(self) -> Kept | None:
        """What was saved; None where nothing was. Raises `StoreError` that says why it is of no
        use."""
        try:
            with open(self._path, "rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error
        try:
            if len(content) > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES} bytes")
            return _parsed(self._opened(content))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def save(self, kept: Kept) -> None:
        """All of it or nothing. Raises `StoreError`."""
        text = _text(kept if self._keys is not None else kept.without_secrets())
        body = self._keys.seal(text) if self._keys is not None else text
        digest = hashlib.sha256(body).hexdigest()
        head = {"version": VERSION, "sealed": self._keys is not None, "sha256": digest}
        content = json.dumps(head).encode() + b"\n" + body
        if len(content) > MOST_BYTES:
            raise StoreError(f"{self._path}: what is declared is larger than {MOST_BYTES} bytes")
        try:
            self._write(content)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=self._path.parent, prefix=".declared-")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise

    def _opened(self, content: bytes) -> bytes:
        line, _, body = content.partition(b"\n")
        head = json.loads(line) if len(line) <= _MOST_HEAD else None
        sealed = head.get("sealed") if isinstance(head, dict) else None
        if head is None or sealed not in (True, False) or head.get("version") != VERSION:
            raise ValueError(f"it is no file of version {VERSION}")
        if head.get("sha256") != hashlib.sha256(body).hexdigest():
            raise ValueError("it is damaged")
        if not sealed:
            return body
        if self._keys is None:
            raise ValueError("it is sealed, and no key is given")
        return self._keys.open(body)


def _text(kept: Kept) -> bytes:
    names = {
        "source": kept.source,
        "documents": list(kept.documents),
        "earlier": list(kept.earlier),
        "withheld": sorted(kept.withheld),
    }
    documents = (*kept.documents.values(), *kept.earlier.values())
    return b"\n".join((json.dumps(names).encode(), *documents))


def _parsed(text: bytes) -> Kept:
    line, *documents = text.split(b"\n")
    names = json.loads(line)
    if not isinstance(names, dict) or not isinstance(names.get("source"), str):
        raise ValueError("it does not say whose it is")
    listed, earlier = _strings(names, "documents"), _strings(names, "earlier")
    if len(documents) != len(listed) + len(earlier):
        raise ValueError("it holds more or fewer documents than it says")
    return Kept(
        names["source"],
        dict(zip(listed, documents, strict=False)),
        dict(zip(earlier, documents[len(listed) :], strict=True)),
        frozenset(_strings(names, "withheld")),
    )


def _strings(fields: dict[str, Any], name: str) -> list[str]:
    found = fields.get(name)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{name} is no list of names")
    return found
