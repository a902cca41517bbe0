"""What each part of Weir's plain configuration costs a request: instructions of Envoy's own code.

    .venv/bin/python -m benchmarks.path_parts            about 12 minutes, in any company

Envoy runs in callgrind (Debian: valgrind, nghttp2-client) with what `data_path` calls plain, as a
static bootstrap; then again with one part taken away, or made otherwise, at a time. The
count hardly depends on the machine or on what else it does. It has nothing of the kernel's work,
which is about two fifths of the CPU time of a request. No access logs are sent.

Writes benchmarks/results/data_path_parts.json and .md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import yaml

from benchmarks import path_by_hand as by_hand
from benchmarks import path_declared as declared
from benchmarks.path_by_hand import Json
from benchmarks.path_load import Client
from controlplane.cli.fleets import snapshots
from controlplane.inspection.found import TYPE_URLS
from controlplane.inspection.static import Fleet
from controlplane.lab.envoy import die_with_parent, envoy_binary
from controlplane.lab.ports import free_ports, require_one_listener
from controlplane.translate.runtime import ACCESS_LOG_SAMPLING
from tests.unit.resources.documents import read

RESULTS = Path(__file__).parent / "results"
WARM, COUNTED = 600, 2000
READY_S = 120.0
_FILTERS = f"{by_hand.TYPES}.filters.http"


def plain(port: int, admin_port: int, backends: Sequence[int]) -> Json:
    """Weir's, as a static bootstrap; no request is logged."""
    found = declared.documents({declared.PLAIN: port}, backends, ("", ""), "")
    text = yaml.safe_dump_all(one for one in found if one["kind"] != "Secret")
    made = next(iter(snapshots(read({"plain.yaml": text}).declared)))
    resources = {name: made.resources.get(url, {}) for name, url in TYPE_URLS.items()}
    resources["eds"] = {name: one for name, one in resources["eds"].items() if "/" in name}
    fleet = Fleet.of(resources)
    control = by_hand.minimal(0, 0, [1])["static_resources"]["clusters"][0]
    control = control | {"name": "weir", "load_assignment": {"cluster_name": "weir"}}
    base = {"admin": by_hand.minimal(0, admin_port, [])["admin"]}
    base["static_resources"] = {"clusters": [control]}
    whole = fleet.bootstrap(base, fleet.parts())
    whole["layered_runtime"]["layers"][0]["static_layer"][ACCESS_LOG_SAMPLING] = 0
    return whole


def _manager(made: Json) -> Json:
    chain = made["static_resources"]["listeners"][0]["filter_chains"][0]
    config: Json = chain["filters"][0]["typed_config"]
    return config


def _cluster(made: Json) -> Json:
    found: Json = made["static_resources"]["clusters"][1]
    return found


def _filters(made: Json, keep: Callable[[Json], bool]) -> None:
    _manager(made)["http_filters"] = [one for one in _manager(made)["http_filters"] if keep(one)]


def _without(*names: str) -> Callable[[Json], None]:
    def change(made: Json) -> None:
        for name in names:
            del _manager(made)[name]

    return change


def _no_retries(made: Json) -> None:
    for host in _manager(made)["route_config"]["virtual_hosts"]:
        del host["retry_policy"]


def _least_request(made: Json) -> None:
    del _cluster(made)["load_balancing_policy"]
    _cluster(made)["lb_policy"] = "LEAST_REQUEST"


def _no_orca(made: Json) -> None:
    del _cluster(made)["lrs_report_endpoint_metrics"]


def _no_outliers(made: Json) -> None:
    del _cluster(made)["outlier_detection"]


def _rbac(made: Json) -> None:
    lists = next(one for one in _manager(made)["http_filters"] if "addresses" in one["name"])
    lists["typed_config"] = {"@type": f"{_FILTERS}.rbac.v3.RBAC"}


def _router(**fields: bool) -> Callable[[Json], None]:
    def change(made: Json) -> None:
        _manager(made)["http_filters"][-1]["typed_config"].update(fields)

    return change


CHANGES: dict[str, Callable[[Json], None]] = {
    "without the filters that are switched off": lambda made: _filters(
        made, lambda one: not one.get("disabled")
    ),
    "without the place of the lists of client addresses": lambda made: _filters(
        made, lambda one: "addresses" not in one["name"]
    ),
    "with RBAC without rules in that place": _rbac,
    "without access logs (none is sent)": _without("access_log"),
    "without `use_remote_address`": _without("use_remote_address"),
    "without normal paths": _without(
        "normalize_path", "merge_slashes", "path_with_escaped_slashes_action"
    ),
    "without the header that is taken from requests first": _without(
        "early_header_mutation_extensions"
    ),
    "without `request_headers_timeout`": _without("request_headers_timeout"),
    "without the retry of what never reached an endpoint": _no_retries,
    "with Envoy's own LEAST_REQUEST": _least_request,
    "without outlier detection": _no_outliers,
    "without looking for ORCA in answers": _no_orca,
    "with `x-envoy-*` headers": _router(suppress_envoy_headers=False),
    "without `dynamic_stats`": _router(dynamic_stats=False),
}


BY_HAND, WHOLE = "by hand: minimal", "Weir: plain"


@dataclass(frozen=True, slots=True)
class Counter:
    """An Envoy in callgrind."""

    pid: int
    dump: Path

    def instructions(self, client: Client) -> float:
        """For each of some requests."""
        self._control("-z")
        _call(client, COUNTED)
        for old in self._dumps():
            old.unlink()
        self._control("-d")
        (made,) = self._dumps()
        total = re.search(r"^(?:totals|summary): (\d+)", made.read_text(), re.MULTILINE)
        assert total is not None
        return int(total.group(1)) / COUNTED

    def _dumps(self) -> list[Path]:
        return list(self.dump.parent.glob(f"{self.dump.name}.*"))

    def _control(self, what: str) -> None:
        command = ["callgrind_control", what, str(self.pid)]
        subprocess.run(command, check=True, capture_output=True)


def _call(client: Client, requests: int) -> None:
    command = client.command("-n", str(requests), "-c", "8", "-m", "1")
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f" {requests} 2xx," in said, said


@contextlib.contextmanager
def counting(bootstrap: Json, folder: Path, url: str) -> Iterator[Counter]:
    """An Envoy that serves."""
    config, dump = folder / "envoy.json", folder / "callgrind"
    config.write_text(json.dumps(bootstrap))
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={dump}"]
    with _running([*command, *_envoy(config)], folder / "valgrind.log") as process:
        _wait(process, url, folder / "valgrind.log")
        yield Counter(process.pid, dump)


def _envoy(config: Path) -> list[str]:
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return [str(envoy_binary()), "-c", str(config), *options]


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=die_with_parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.monotonic() + READY_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError), urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"Envoy did not serve; its log ends:\n{log.read_text()[-2000:]}")


def configured(name: str, port: int, admin_port: int, backends: Sequence[int]) -> Json:
    """One of the configurations."""
    if name == BY_HAND:
        return by_hand.minimal(port, admin_port, backends)
    made = plain(port, admin_port, backends)
    if name != WHOLE:
        CHANGES[name](made)
    return made


def measure() -> dict[str, float]:
    """Instructions of a request, by configuration."""
    backends, behind = (ports := free_ports(5))[:4], ports[4]
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = folder / "backend.json"
        config.write_text(json.dumps(by_hand.backend(backends, behind)))
        with _running(_envoy(config), folder / "backend.log"):
            for name in (BY_HAND, WHOLE, *CHANGES):
                port, admin = free_ports(2)
                client = Client(f"http://127.0.0.1:{port}/")
                with counting(configured(name, port, admin, backends), folder, client.url) as one:
                    require_one_listener([port, *backends])
                    _call(client, WARM)
                    found[name] = min(one.instructions(client) for _ in range(2))
                print(f"{found[name]:9.0f} {name}", flush=True)
    return found


def markdown(found: dict[str, float]) -> str:
    """The page."""
    least, whole = found[BY_HAND], found[WHOLE]
    rows = [
        "# Instructions of Envoy's own code for a request",
        "",
        "By `python -m benchmarks.path_parts`. Differences of less than 500 are nothing.",
        "",
        "| configuration | instructions | to plain | % of minimal |",
        "|---|---|---|---|",
    ]
    for name, count in found.items():
        difference = f"{count - whole:+,.0f}" if name in CHANGES else ""
        title = f"plain {name}" if name in CHANGES else name
        rows.append(f"| {title} | {count:,.0f} | {difference} | {100 * count / least:.1f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = measure()
    (RESULTS / "data_path_parts.json").write_text(json.dumps(found, indent=2) + "\n")
    (RESULTS / "data_path_parts.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
