"""What it takes to translate 1,000 routes, and one change of them, on one core.

    python -m benchmarks.translate [--routes 1000] [--changes 50]

A folder of documents, 20 to a file: a Gateway, routes of two rules with three matches, a Backend
for each route, a policy for each tenth. Cold: from the bytes of the files to the bytes of the
snapshots, in a process that has translated nothing before. One change: a route gets another path,
its file is read again, and everything from there to the snapshots is done. CPU time of the process.
The result is written to `benchmarks/results/translate.json`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from controlplane.cli.fleets import even
from controlplane.discovery.sets import endpoints_of
from controlplane.model import Endpoint, Service, ServiceName, Snapshot, Verdict
from controlplane.resources import Declared, Loaded, Services, load
from controlplane.resources.backend import Backend
from controlplane.translate import Translator
from controlplane.translate.types import ROUTE

RESULT = Path(__file__).parent / "results" / "translate.json"
A_FILE = 20
POLICIES = ("equal", "capacity", "model", "learned")
COLD_S, CHANGE_S = 3.0, 0.020
"""What it may take."""

T = TypeVar("T")

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners: [{name: http, port: 8080, protocol: HTTP}]
"""


def route(at: int, edition: int = 0) -> str:
    """An HTTPRoute with its Backend, and now and then a policy."""
    text = f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{at}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [h{at % 100}.example.com]
  rules:
    - matches:
        - path: {{value: /r{at}/v{edition}}}
        - path: {{value: /r{at}}}
          headers: [{{name: x-version, value: v{at}}}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: {{set: [{{name: x-route, value: r{at}}}]}}
      timeouts: {{request: 10s}}
      backendRefs: [{{name: b{at}, weight: 9}}, {{name: b{(at + 1) % 10}, weight: 1}}]
    - matches: [{{path: {{type: Exact, value: /r{at}/exact}}, method: POST}}]
      backendRefs: [{{name: b{at}}}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {{name: b{at}}}
spec:
  endpoints:
    - ip: {{address: 10.{at // 250}.{at % 250}.1, port: 8080}}
    - ip: {{address: 10.{at // 250}.{at % 250}.2, port: 8080}}
"""
    if at % 10 == 0:
        text += f"""\
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: r{at}}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r{at}}}]
  circuitBreaker: {{maxConnections: 1000}}
"""
    return text


def folder(count: int) -> dict[str, bytes | OSError]:
    """The files."""
    files: dict[str, bytes | OSError] = {"edge.yaml": GATEWAY.encode()}
    for first in range(0, count, A_FILE):
        which = range(first, min(count, first + A_FILE))
        files[f"routes-{first:05}.yaml"] = "---\n".join(route(at) for at in which).encode()
    return files


def changed(files: dict[str, bytes | OSError], at: int, edition: int) -> dict[str, bytes | OSError]:
    """The same files, but for one route."""
    first = at // A_FILE * A_FILE
    which = range(first, first + A_FILE)
    text = "---\n".join(route(one, edition if one == at else 0) for one in which)
    return {**files, f"routes-{first:05}.yaml": text.encode()}


class Plane:
    """From files to snapshots, as `weir serve` goes."""

    def __init__(self) -> None:
        self.translator = Translator()
        self.loaded = Loaded()
        self.balanced = Services()
        self.spent: dict[str, float] = {}
        self._verdicts: dict[ServiceName, Verdict] = {}
        self._sets: dict[str, tuple[Backend, tuple[Endpoint, ...]]] = {}

    def apply(self, files: dict[str, bytes | OSError]) -> tuple[Snapshot, ...]:
        self.loaded = self._timed("load", lambda: load(self.loaded, files, POLICIES))
        declared = self.loaded.declared
        balanced = self._timed("services", lambda: self._services(declared))
        for one in balanced:  # the loop's verdicts; not counted
            if one.name not in self._verdicts:
                self._verdicts[one.name] = even(one)
        return self._timed(
            "translate", lambda: self.translator.snapshots(declared, balanced, self._verdicts)
        )

    def _services(self, declared: Declared) -> tuple[Service, ...]:
        """As discovery does it: of a Backend without names the endpoints are kept."""
        for key, backend in declared.backends.items():
            if key not in self._sets or self._sets[key][0] is not backend:
                self._sets[key] = (backend, endpoints_of(backend, lambda _: ()))
        found = {ServiceName(key): made for key, (_, made) in self._sets.items()}
        return self.balanced.of(declared, found)

    def _timed(self, what: str, make: Callable[[], T]) -> T:
        begin_s = time.process_time()
        made = make()
        self.spent[what] = time.process_time() - begin_s
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=50)
    given = parser.parse_args()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # as `weir serve` has it
    files, plane = folder(given.routes), Plane()
    before = plane.apply(files)
    cold = dict(plane.spent)
    assert not plane.loaded.problems, plane.loaded.problems[:3]
    rows = []
    for edition in range(1, given.changes + 1):
        at = edition * 37 % (given.routes // A_FILE * A_FILE)
        after = plane.apply(changed(files, at, edition))
        assert before[0].resources[ROUTE] != after[0].resources[ROUTE]
        rows.append(dict(plane.spent))
    parts = {what: statistics.median(row[what] for row in rows) for what in cold}
    change_s = sorted(sum(row.values()) for row in rows)
    result = {
        "what": "CPU seconds from the bytes of the files to the bytes of the snapshots",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; shared with other work, load {os.getloadavg()[0]:.1f}",
        "routes": given.routes,
        "changes": given.changes,
        "cold_s": round(sum(cold.values()), 4),
        "cold_parts_s": {what: round(value, 4) for what, value in cold.items()},
        "change_median_s": round(statistics.median(change_s), 5),
        "change_p90_s": round(change_s[int(0.9 * len(change_s))], 5),
        "change_parts_s": {what: round(value, 5) for what, value in parts.items()},
        "may": {"cold_s": COLD_S, "change_s": CHANGE_S},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
