"""What an image would start, as it is installed here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from controlplane.lab.envoy import envoy_binary

REPOSITORY = Path(__file__).parents[3]


PYTHON = "/usr/bin/python3"
"""Of the image `weir`."""


def meant(word: str) -> str:
    """A word of a command that is a path in an image."""
    return sys.executable if word == PYTHON else word


SCRAPER = "victoria-metrics"
"""Stands in for Prometheus, whose package of Debian cannot ask Kubernetes where pods are: it reads
the same configuration, and answers the same questions."""
_SCRAPER_OPTIONS = {
    "--config.file": "-promscrape.config",
    "--storage.tsdb.path": "-storageDataPath",
    "--web.listen-address": "-httpListenAddr",
}
_SCRAPER_ALWAYS = (
    "-promscrape.config.strictParse=false",  # it knows no rules
    "-promscrape.kubernetesSDCheckInterval=1s",  # it is half a minute behind otherwise,
    "-search.latencyOffset=1s",  # and waits as long for what may still come
)


def started(image: str, arguments: Iterable[str]) -> list[str]:
    """The words that a container with these `args` is started by. Raises `LookupError`."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    if name == "weir":
        return [sys.executable, "-m", "controlplane.cli", *arguments]
    if name == "envoy":
        # Pods share the memory by which Envoys of one machine would find one another.
        return [str(envoy_binary()), "--use-dynamic-base-id", *arguments]
    if name == "prometheus" and (program := shutil.which(SCRAPER)):
        given = (one.partition("=") for one in arguments)
        known = [
            f"{_SCRAPER_OPTIONS[key]}={value}" for key, _, value in given if key in _SCRAPER_OPTIONS
        ]
        return [program, *_SCRAPER_ALWAYS, *known]
    raise LookupError(f"nothing here runs the image {image}")
