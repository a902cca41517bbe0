"""A container as a process: its environment, its files, its end."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.lab.envoy import die_with_parent, log_tail
from tests.kubernetes.node.network import Network
from tests.kubernetes.node.programs import REPOSITORY, meant, started

Object = dict[str, Any]
_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


@dataclass(slots=True)
class Container:
    """One container of a pod."""

    spec: Object
    log: Path
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    mounts: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    """Those that its environment is of, by name."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(
        self, pod: Object, network: Network, resolver: Path, api: Mapping[str, str]
    ) -> None:
        given = environment(self.spec, pod, network.address, api, self.secrets)
        arguments = self.spec.get("args") or ()
        if command := self.spec.get("command"):
            words = [*map(meant, command), *arguments]
        else:
            words = started(self.spec["image"], arguments)
        words = [_filled(str(one), given) for one in words]
        mounts = {**self.mounts, "/etc/resolv.conf": resolver}
        script = _script(pod["metadata"]["name"], mounts, words, self.log.parent)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", network.name),
                *("unshare", "--mount", "--uts", "sh", "-euc", script),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_inherited() | given,
                preexec_fn=die_with_parent,
            )

    async def does(self, *command: str) -> bool:
        """Whether a command within it succeeds; cancelled, it is killed."""
        if self.process is None:
            return False
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "--target", str(self.process.pid), "--mount", "--net", "--uts", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=_inherited(),
            preexec_fn=die_with_parent,
        )
        try:
            return await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM; kill -9 when that takes longer than it may."""
        self._signal(signal.SIGTERM)
        if self.process is not None:
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, number)

    @property
    def tail(self) -> str:
        """The end of its log."""
        return log_tail(self.log)


def environment(
    spec: Object,
    pod: Object,
    address: str,
    api: Mapping[str, str],
    secrets: Mapping[str, Object],
) -> dict[str, str]:
    """`env` of a container, with what the kubelet puts in."""
    found = dict(api)
    for one in spec.get("env") or ():
        source = one.get("valueFrom")
        if source is None:
            found[one["name"]] = _filled(str(one.get("value", "")), found)
        elif secret := source.get("secretKeyRef"):
            data = secrets[secret["name"]]["data"]
            found[one["name"]] = base64.b64decode(data[secret["key"]]).decode()
        else:
            found[one["name"]] = _of_pod(source["fieldRef"]["fieldPath"], pod, address)
    return found


def secrets_of(spec: Object) -> set[str]:
    """Names of Secrets that the environment of a container is of."""
    sources = (one.get("valueFrom") or {} for one in spec.get("env") or ())
    return {one["secretKeyRef"]["name"] for one in sources if "secretKeyRef" in one}


def _of_pod(path: str, pod: Object, address: str) -> str:
    metadata = pod["metadata"]
    if keyed := _FIELD.fullmatch(path):
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "status.podIP": address,
    }
    return str(values[path])


def _filled(text: str, given: Mapping[str, str]) -> str:
    """`$(NAME)` is replaced where there is such a variable."""
    return re.sub(r"\$\((\w+)\)", lambda found: given.get(found[1], found[0]), text)


def _inherited() -> dict[str, str]:
    """Of this machine: how its programs and this tree are found, and nothing of the test."""
    kept = {name: os.environ[name] for name in ("PATH", "WEIR_ENVOY") if name in os.environ}
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"}


def _script(host_name: str, mounts: Mapping[str, Path], words: list[str], scratch: Path) -> str:
    """Mount what the pod mounts, take away the right to write to all else, and start the program.

    Mount points are made in layers over this machine's folders, so that none is made in these. A
    volume at `/tmp` hides what this tree may be in: it comes last, and the tree is mounted again.
    """
    steps = ["mount --make-rprivate /", f"exec 9<{shlex.quote(str(REPOSITORY))}"]
    mounts = {str(Path(path).resolve()): source for path, source in mounts.items()}
    tops = sorted({Path(path).parts[1] for path in mounts} - {"tmp"})
    for top in tops:
        upper, work = (scratch / "layers" / top / one for one in ("upper", "work"))
        for one in (upper, work):
            one.mkdir(parents=True, exist_ok=True)
        over = f"lowerdir=/{top},upperdir={upper},workdir={work}"
        steps.append(f"mount -t overlay overlay -o {shlex.quote(over)} /{top}")
    for path in sorted(mounts, key=lambda one: (one.startswith("/tmp"), one)):
        source = mounts[path]
        at = Path(path)
        point = f"mkdir -p {at}" if source.is_dir() else f"mkdir -p {at.parent} && touch {at}"
        steps += [point, f"mount --bind {shlex.quote(str(source))} {at}"]
    if "/tmp" in mounts and REPOSITORY.is_relative_to("/tmp"):
        steps += [f"mkdir -p {REPOSITORY}", f"mount -c --bind /proc/self/fd/9 {REPOSITORY}"]
    steps += [f"mount -o remount,bind,ro /{top}" for top in ("", *tops)]
    steps += ["exec 9<&-", f"echo {host_name} > /proc/sys/kernel/hostname"]
    return "\n".join([*steps, f"exec {shlex.join(words)}"])
