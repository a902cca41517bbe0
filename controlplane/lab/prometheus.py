"""One real Prometheus as a child process on loopback, for the demo and for the tests.

The binary is `$WEIR_PROMETHEUS` or the `prometheus` on the PATH (Debian: apt-get install
prometheus). Its data go into the folder that the caller gives, and it dies with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.errors import StartupError
from controlplane.lab.envoy import die_with_parent, free_port, log_tail


@dataclass(frozen=True, slots=True)
class Scrape:
    """One job: what is scraped, where, how often."""

    job: str
    targets: tuple[str, ...]
    """`host:port` of each."""
    path: str = "/metrics"
    interval_s: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus. Use `run_prometheus`."""

    process: asyncio.subprocess.Process
    url: str
    log: Path


def prometheus_binary() -> Path:
    """Where the binary is. Raises `StartupError` with advice when there is none."""
    found = os.environ.get("WEIR_PROMETHEUS") or shutil.which("prometheus")
    if found:
        return Path(found)
    raise StartupError(
        "no Prometheus binary: apt-get install prometheus, or name one in $WEIR_PROMETHEUS"
    )


def configuration(scrapes: tuple[Scrape, ...]) -> dict[str, Any]:
    """Its configuration file; JSON is YAML too."""
    return {
        "scrape_configs": [
            {
                "job_name": scrape.job,
                "metrics_path": scrape.path,
                "scrape_interval": f"{round(scrape.interval_s * 1000)}ms",
                "scrape_timeout": f"{round(scrape.interval_s * 1000)}ms",
                "static_configs": [
                    {"targets": list(scrape.targets), "labels": dict(scrape.labels)}
                ],
            }
            for scrape in scrapes
        ]
    }


@contextlib.asynccontextmanager
async def run_prometheus(
    folder: Path, *scrapes: Scrape, wait_s: float = 30.0
) -> AsyncIterator[Prometheus]:
    """Start one Prometheus with these jobs and stop it at the end."""
    config, log, data = folder / "prometheus.yml", folder / "prometheus.log", folder / "prometheus"
    config.write_text(json.dumps(configuration(scrapes)))
    address = f"127.0.0.1:{free_port()}"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            str(prometheus_binary()),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={address}",
            "--storage.tsdb.retention.time=1h",
            "--log.level=warn",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent,
        )
    prometheus = Prometheus(process, f"http://{address}", log)
    try:
        await _wait_ready(prometheus, wait_s)
        yield prometheus
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _wait_ready(prometheus: Prometheus, deadline_s: float) -> None:
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s and prometheus.process.returncode is None:
        if await asyncio.to_thread(_ready, prometheus.url):
            return
        await asyncio.sleep(0.1)
    raise StartupError(
        f"Prometheus did not become ready in {deadline_s:.0f} s; its log ends:\n"
        f"{log_tail(prometheus.log)}"
    )


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=1.0) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
