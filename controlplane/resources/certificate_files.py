"""A certificate that lies on the machine of the Envoy, and is renewed there by somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

CERTIFICATE_FILE, KEY_FILE = "weir.dev/certificate-file", "weir.dev/key-file"
"""The options of `Gateway` `tls.options` that say where."""
_MAX_PATH = 1024


class CertificateFiles(NamedTuple):
    """Two files in PEM; they share a folder, which Envoy watches."""

    certificate: str
    key: str


def checked(options: dict[str, str]) -> dict[str, str]:
    """The options themselves. Raises `ValueError` for what cannot be followed."""
    unknown = set(options) - {CERTIFICATE_FILE, KEY_FILE}
    if unknown:
        raise ValueError(
            f"there is no option {min(unknown)!r}; there are {CERTIFICATE_FILE} and {KEY_FILE}"
        )
    if not options:
        return options
    if len(options) < 2:
        raise ValueError(f"{CERTIFICATE_FILE} and {KEY_FILE} are given together")
    paths = [PurePosixPath(path) for path in options.values()]
    for path in paths:
        if not path.is_absolute() or ".." in path.parts or len(str(path)) > _MAX_PATH:
            raise ValueError(f"want an absolute path without '..', not {str(path)[:80]!r}")
    if paths[0].parent != paths[1].parent:
        raise ValueError("certificate and key lie in one folder, which Envoy watches")
    return options


def files_of(options: Mapping[str, str]) -> CertificateFiles | None:
    """Where they lie; None where that is not said."""
    if CERTIFICATE_FILE not in options:
        return None
    return CertificateFiles(options[CERTIFICATE_FILE], options[KEY_FILE])
