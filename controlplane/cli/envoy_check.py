"""What the real Envoy says to what Weir would send: `weir validate --envoy`.

Each fleet's snapshot is put together as `weir serve` would, with equal weights and with an address
for documentation (192.0.2.1) in place of each name, and given to `envoy --mode validate`, which
opens no port and connects to nothing. What is refused is traced to its resource and document.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.cli.fleets import snapshots
from controlplane.errors import InspectionError, StartupError
from controlplane.inspection.found import TYPE_URLS
from controlplane.inspection.static import Fleet, Part, refused_parts
from controlplane.lab.envoy import die_with_parent, envoy_binary
from controlplane.model import OVERLAY, Snapshot
from controlplane.resources import Declared, Problem
from controlplane.resources.declared import ObjectKey, Source
from controlplane.translate.bootstrap import ads_bootstrap

DEADLINE_S = 60.0
"""For all fleets together; what was not checked by then is a problem of its own."""

_ROUTE = re.compile(r"(.+/.+)/(\d+)/(\d+)")
_NOISE = re.compile(r"^\[[^\]]*\](\[[^\]]*\])* *(\[[^\]]*\])? *")


def problems(
    declared: Declared, binary: Path | None = None, deadline_s: float = DEADLINE_S
) -> list[Problem]:
    """Everything that Envoy would refuse. Raises `StartupError` where it cannot be run."""
    return [*_problems(declared, binary or envoy_binary(), time.monotonic() + deadline_s)]


def _problems(declared: Declared, binary: Path, end_s: float) -> Iterator[Problem]:
    left = snapshots(declared)
    with tempfile.TemporaryDirectory(prefix="weir-validate-") as folder:
        while left:
            snapshot = left[0]
            run = _Run(binary, Path(folder) / "envoy.json", snapshot.fleet, end_s)
            try:
                fleet = Fleet.of(_by_short_name(snapshot))
                for part, said in run.refused(fleet):
                    yield _problem(declared, snapshot.fleet, part, said)
            except InspectionError as error:
                yield Problem("", 0, "", str(error), object=f"fleet {snapshot.fleet}")
            except _LateError:
                names = ", ".join(one.fleet for one in left)
                yield Problem("", 0, "", f"not checked with Envoy in time: fleets {names}")
                return
            left = left[1:]


def _by_short_name(snapshot: Snapshot) -> Mapping[str, Mapping[str, bytes]]:
    """Assignments stand there twice where their bare name is unique; once is enough."""
    named = {kind: snapshot.resources.get(url, {}) for kind, url in TYPE_URLS.items()}
    whole = {name: body for name, body in named["eds"].items() if "/" in name}
    return {**named, "eds": whole}


class _LateError(Exception):
    """The time is over."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Gives parts of a fleet to Envoy."""

    binary: Path
    file: Path
    fleet: str
    end_s: float

    def refused(self, fleet: Fleet) -> Iterator[tuple[Part, str]]:
        """The parts that it does not take, and what it says."""
        base = _base(self.fleet)

        def verdict(parts: Sequence[Part]) -> str:
            self.file.write_text(json.dumps(fleet.bootstrap(base, parts)))
            return self._validate()

        said = verdict([])
        if said:
            raise StartupError(
                f"{self.binary} does not take even an empty configuration of Weir's: {said}"
            )
        yield from refused_parts(fleet.parts(), verdict)

    def _validate(self) -> str:
        """What Envoy says to the file; empty when it takes it."""
        left_s = self.end_s - time.monotonic()
        if left_s <= 0:
            raise _LateError
        arguments = ("--mode", "validate", "-c", str(self.file), "--disable-hot-restart")
        try:
            done = subprocess.run(
                [str(self.binary), *arguments, "--concurrency", "1", "--log-level", "error"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=left_s,
                check=False,
                preexec_fn=die_with_parent,
            )
        except subprocess.TimeoutExpired:
            raise _LateError from None
        except OSError as error:
            raise StartupError(
                f"cannot run {self.binary}: {error.strerror or error}; "
                "give the path of an Envoy binary with --envoy PATH"
            ) from error
        return "" if done.returncode == 0 else _words(done.stderr, done.returncode)


def _base(fleet: str) -> dict[str, object]:
    """What the Envoys of a fleet are started with, without what comes over xDS."""
    whole = ads_bootstrap(node_id="validate", fleet=fleet, load_reports=False)
    return {key: whole[key] for key in ("node", "static_resources")}


def _words(stderr: str, status: int) -> str:
    """The error in what Envoy wrote, in one line and without where in its source it came from."""
    lines = [_NOISE.sub("", line).strip() for line in stderr.splitlines()]
    found = [line for line in lines if line]
    text = " ".join(dict.fromkeys(found)) or f"it ended with status {status}, without a word"
    text = re.sub(r"error initializing configuration '[^']*': *", "", text)
    return text[:2000]


def _problem(declared: Declared, fleet: str, part: Part, said: str) -> Problem:
    """In the form of the other problems: file, line and object of the document behind it."""
    key, field = _origin(part)
    source = declared.sources.get(key) if key is not None else None
    source = source or Source("", 0)
    where = f"{part} of fleet {fleet if fleet != OVERLAY else 'overlay'}"
    line = source.lines.get(field.partition(".matches")[0], source.line)
    return Problem(
        source.file, line, field, f"Envoy refuses {where}: {said}", "", str(key) if key else where
    )


def _origin(part: Part) -> tuple[ObjectKey | None, str]:
    """The document that a resource is made from, and the field where that is known."""
    if part.type in ("cds", "eds"):
        return ObjectKey("Backend", part.name), ""
    found = _ROUTE.fullmatch(part.entry)
    if found is not None:
        route, rule, match = found.groups()
        return ObjectKey("HTTPRoute", route), f"spec.rules[{rule}].matches[{match}]"
    if part.type in ("lds", "rds"):
        return ObjectKey("Gateway", part.name.rpartition("/")[0]), ""
    return None, ""
