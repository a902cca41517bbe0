"""Run docker-compose.yml without an engine: each service a process in a network of its own.

    python -m deploy.compose.rehearse [--profile watch] [--seconds 30]     # as root

Every service gets a network namespace on one bridge, its name in everybody's hosts file, and the
files that the compose file mounts, at their places (a mount namespace of its own). What runs there
is the command of the compose file, with the program that is installed here. Grafana is not to be
had and is left out, by name. Then it looks: are requests answered, does each Envoy show its numbers
and nothing else, do the watchers see them? Printed as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controlplane.lab.envoy import envoy_binary

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / "docker-compose.yml"
BRIDGE, NET = "weir-br0", "10.213.0"
LEFT_OUT = {"grafana": "no server to be had"}
STARTS_WITHIN_S = 60.0


@dataclass(slots=True)
class Service:
    """One service and where it is."""

    name: str
    body: Mapping[str, Any]
    address: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def namespace(self) -> str:
        """Of its network."""
        return f"weir-{self.name}"


@dataclass(slots=True)
class Seen:
    """What a rehearsal saw."""

    services: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    load: list[dict[str, Any]] = field(default_factory=list)


def services(profiles: Sequence[str]) -> list[Service]:
    """Those without a profile, and of these profiles; in an order in which dependencies stand."""
    bodies = yaml.safe_load(FILE.read_text())["services"]
    chosen = {
        name: body
        for name, body in bodies.items()
        if not body.get("profiles") or set(body["profiles"]) & set(profiles)
    }
    order: list[str] = []

    def add(name: str) -> None:
        if name in order or name not in chosen:
            return
        for one in chosen[name].get("depends_on") or ():
            add(one)
        order.append(name)

    for name in chosen:
        add(name)
    return [Service(name, chosen[name], f"{NET}.{i + 10}") for i, name in enumerate(order)]


def program(service: Service) -> list[str]:
    """The command of the service, with what its image would start in front."""
    command = [str(one) for one in service.body.get("command") or ()]
    image = str(service.body["image"]).partition(":")[0]
    if image == "weir":
        return [str(Path(sys.executable).with_name("weir")), *command]
    if image == "envoyproxy/envoy":
        return [str(envoy_binary()), *command, "--use-dynamic-base-id"]
    if image == "redis":
        return command
    if image in ("prom/prometheus", "prom/alertmanager"):
        name = image.partition("/")[2]
        found = shutil.which(name) or shutil.which(f"prometheus-{name}")
        if found is None:
            raise LookupError(f"no {name} is installed")
        return [found, *command]
    raise LookupError(f"nothing here runs {image}")


@contextlib.contextmanager
def bridge() -> Iterator[None]:
    """A bridge without a way out."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield
    finally:
        _ip("link", "del", BRIDGE)


@contextlib.contextmanager
def running(service: Service, folder: Path, hosts: Path) -> Iterator[None]:
    """The service, until the block ends."""
    ends = f"wv{service.address.rpartition('.')[2]}"
    _ip("netns", "add", service.namespace)
    try:
        _ip("link", "add", ends, "type", "veth", "peer", "name", "eth0", "netns", service.namespace)
        _ip("link", "set", ends, "master", BRIDGE, "up")
        inside = ("netns", "exec", service.namespace, "ip")
        _ip(*inside, "addr", "add", f"{service.address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        log = folder / f"{service.name}.log"
        words = ["ip", "netns", "exec", service.namespace, "unshare", "--mount", "sh", "-c"]
        with log.open("wb") as out:
            service.process = subprocess.Popen(
                [*words, _script(service, folder, hosts)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=_environment(service),
            )  # fmt: skip
        yield
    finally:
        if service.process is not None:
            service.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.process.wait(10)
            service.process.kill()
            service.process.wait()
        _ip("netns", "del", service.namespace)


def _script(service: Service, folder: Path, hosts: Path) -> str:
    """Mount what the compose file mounts, over what is on this machine, and start the program."""
    steps, mounts = [], []
    tops = set()
    for volume in service.body.get("volumes") or ():
        source, target, *_ = volume.split(":")
        found = REPOSITORY / source if source.startswith(".") else folder / "volumes" / source
        if not source.startswith("."):
            found.mkdir(parents=True, exist_ok=True)
        at = Path(target)
        tops.add(at.parts[1])
        made = f"mkdir -p {at}" if found.is_dir() else f"mkdir -p {at.parent} && touch {at}"
        mounts += [made, f"mount --bind {shlex.quote(str(found))} {at}"]
    for top in sorted(tops):  # so that no folder is made on this machine itself
        upper, work = (folder / "over" / service.name / top / one for one in ("upper", "work"))
        for one in (upper, work):
            one.mkdir(parents=True, exist_ok=True)
        if Path("/", top).is_dir():
            over = f"lowerdir=/{top},upperdir={upper},workdir={work}"
            steps.append(f"mount -t overlay overlay -o {shlex.quote(over)} /{top}")
    steps += [*mounts, f"mount --bind {shlex.quote(str(hosts))} /etc/hosts"]
    return " && ".join([*steps, f"exec {shlex.join(program(service))}"])


def _environment(service: Service) -> dict[str, str]:
    given = {k: str(v) for k, v in (service.body.get("environment") or {}).items()}
    image = {"WEIR_STATE_DIR": "/var/lib/weir", "WEIR_PROBE_ADDRESS": "0.0.0.0:18002"}
    plain = {k: v for k, v in given.items() if not v.startswith("${")}
    return {**os.environ, **(image if service.name == "weir" else {}), **plain}


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise SystemExit(f"ip {' '.join(words)}: {done.stderr.strip()}")


def get(address: str, path: str) -> str:
    """A page; empty while it cannot be had."""
    url = f"http://{address}{path}"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2.0) as answer:
        return str(answer.read().decode())
    return ""


def until(look: Any, deadline_s: float = STARTS_WITHIN_S) -> bool:  # noqa: ANN401
    """Whether `look()` became true in time."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if look():
            return True
        time.sleep(0.3)
    return False


def rehearse(profiles: Sequence[str], seconds: float, folder: Path) -> Seen:
    """Start all, look, stop all."""
    seen = Seen()
    chosen = []
    for service in services(profiles):
        if service.name in LEFT_OUT:
            seen.left_out[service.name] = LEFT_OUT[service.name]
            continue
        try:
            program(service)
            chosen.append(service)
        except LookupError as error:
            seen.left_out[service.name] = str(error)
    at = {one.name: one.address for one in chosen}
    hosts = folder / "hosts"
    names = "".join(f"{address} {name}\n" for name, address in at.items())
    hosts.write_text(f"127.0.0.1 localhost\n{names}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(bridge())
        for service in chosen:
            stack.enter_context(running(service, folder, hosts))
            if service.name == "weir":
                seen.checks["weir is ready"] = until(lambda: get(f"{at['weir']}:18002", "/readyz"))
        envoys = [name for name in at if name.startswith("envoy")]
        for name in envoys:
            answered = until(lambda: get(f"{at[name]}:8080", "/1000") == "ok")  # noqa: B023
            seen.checks[f"{name} answers"] = answered
            seen.checks[f"{name} shows its numbers alone"] = bool(
                get(f"{at[name]}:9902", "/stats/prometheus")
            ) and not get(f"{at[name]}:9902", "/config_dump")
        time.sleep(seconds)
        if "prometheus" in at:
            asked = "/api/v1/query?query=count(up%7Bcluster%3D%22compose%22%7D%20%3D%3D%201)"
            seen.checks["prometheus scrapes all"] = until(
                lambda: f'"{1 + len(envoys)}"' in get(f"{at['prometheus']}:9090", asked)
            )
            rules = get(f"{at['prometheus']}:9090", "/api/v1/rules")
            seen.checks["prometheus has the alerts"] = "WeirServiceFails" in rules
        if "alertmanager" in at:
            seen.checks["alertmanager is ready"] = until(
                lambda: bool(get(f"{at['alertmanager']}:9093", "/-/ready"))
            )
        for service in chosen:
            assert service.process is not None
            seen.checks[f"{service.name} runs"] = service.process.poll() is None
    seen.services = [one.name for one in chosen]
    lines = (folder / "load.log").read_text().splitlines()
    seen.load = [json.loads(line) for line in lines if line.startswith("{")]
    return seen


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=30.0, help="Of load before it looks.")
    parser.add_argument("--folder", type=Path, help="Where logs are kept.")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("networks of their own want root")
    with tempfile.TemporaryDirectory(prefix="weir-compose-") as made:
        folder = asked.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        seen = rehearse(asked.profile, asked.seconds, folder)
        print(
            json.dumps(
                {
                    "services": seen.services,
                    "left_out": seen.left_out,
                    "checks": seen.checks,
                    "load": seen.load,
                },
                indent=1,
            )
        )
        failed = [name for name, passed in seen.checks.items() if not passed]
        for name in {one.partition(" ")[0] for one in failed}:
            log = folder / f"{name}.log"
            if log.exists():
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                print(f"--- {name}\n{tail}", file=sys.stderr)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
