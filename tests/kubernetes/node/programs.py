"""What an image would start, as it is installed here."""

from __future__ import annotations

import sys
from pathlib import Path

from controlplane.lab.envoy import envoy_binary

REPOSITORY = Path(__file__).parents[3]


PYTHON = "/usr/bin/python3"
"""Of the image `weir`."""


def meant(word: str) -> str:
    """A word of a command that is a path in an image."""
    return sys.executable if word == PYTHON else word


def entry_point(image: str) -> list[str]:
    """The words in front of a container's `args`. Raises `LookupError`."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    if name == "weir":
        return [sys.executable, "-m", "controlplane.cli"]
    if name == "envoy":
        # Pods share the memory by which Envoys of one machine would find one another.
        return [str(envoy_binary()), "--use-dynamic-base-id"]
    raise LookupError(f"nothing here runs the image {image}")
