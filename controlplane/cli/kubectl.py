"""kubectl as a subprocess: the way to a cluster that has whatever kubectl has.

Plugins for credentials, proxies and contexts are kubectl's business, so every call is a run of it,
with a deadline, and a way to a port of a pod is `kubectl port-forward`: Weir's admin address is on
the loopback of its pod, where neither a Service nor the proxy of the API server leads. Whatever
happens, a forward ends with the block that it was opened for, and on Linux with this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlencode

from controlplane.errors import WeirError

CALL_S = 20.0
"""A call is answered within this."""
FORWARD_S = 20.0
"""A forward is there within this."""
END_S = 2.0
"""A forward that was told to end is killed after this."""
PAGE = 500
"""Objects in one answer of a list."""
MOST_PAGES = 200
LOOPBACK = "127.0.0.1"
_FORWARDED = re.compile(rb"Forwarding from (\S+:[0-9]+) -> ")
_REASON = re.compile(r"Error from server \((\w+)\): ?(.*)", re.DOTALL)


class ClusterError(WeirError):
    """The cluster cannot be asked, or refuses."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        """As the API server has it (`NotFound`, `Forbidden`); empty where it said none."""

    @property
    def missing(self) -> bool:
        """It is not there, or no such kind is."""
        return self.reason == "NotFound"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One cluster, as kubectl finds it."""

    context: str | None = None
    kubeconfig: str | None = None
    call_s: float = CALL_S
    """For each call."""

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401 (JSON)
        """What stands at a path of the API. Raises `ClusterError`."""
        return _json(self.read(path, **query))

    def read(self, path: str, **query: str) -> bytes:
        """The same as it was sent. Raises `ClusterError`."""
        where = f"{path}?{urlencode(query)}" if query else path
        return self.run("get", "--raw", where)

    def objects(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All objects, page by page; of a kind that the cluster does not know, none. Raises
        `ClusterError`."""
        found: list[dict[str, Any]] = []
        given = {"limit": str(PAGE), **query}
        for _ in range(MOST_PAGES):
            try:
                page = self.get(path, **given)
            except ClusterError as error:
                if error.missing:
                    return []
                raise
            kind = {"apiVersion": page.get("apiVersion"), "kind": _singular(page.get("kind"))}
            found += [{**kind, **one} for one in page.get("items") or ()]
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            given["continue"] = token
        raise ClusterError(f"{path}: more than {MOST_PAGES * PAGE} objects")

    def create(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Reviews and their like: what the server made of each. Raises `ClusterError`."""
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        command = ("create", "--validate=false", "-f", "-", "-o", "json")
        return list(_each(self.run(*command, given=given.encode()).decode()))

    def namespace(self) -> str:
        """That of the context. Raises `ClusterError`."""
        found = self.run("config", "view", "--minify", "-o", "jsonpath={..namespace}")
        return found.decode(errors="replace").strip() or "default"

    def run(self, *arguments: str, given: bytes | None = None) -> bytes:
        """What it prints. Raises `ClusterError` with its words."""
        command = [*self._command(), f"--request-timeout={self.call_s:g}s", *arguments]
        try:
            done = subprocess.run(
                command,
                input=given,
                capture_output=True,
                timeout=self.call_s,
                check=False,
                stdin=subprocess.DEVNULL if given is None else None,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(
                f"kubectl {arguments[0]}: no answer within {self.call_s:g} s"
            ) from error
        except OSError as error:
            raise ClusterError(f"kubectl cannot be run: {error}") from error
        if done.returncode != 0:
            raise _refused(arguments[0], done.stderr)
        return done.stdout

    def start_forward(
        self, namespace: str, pod: str, port: int, *, here: int = 0, address: str = LOOPBACK
    ) -> Forward:
        """A way from a port here (0: one that is free) to a port of a pod, to be entered. Several
        that are started before they are entered come up together."""
        return Forward(
            [
                *self._command(),
                *("port-forward", f"--address={address}", "--pod-running-timeout=5s"),
                *("-n", namespace, f"pod/{pod}", f"{here or ''}:{port}"),
            ]
        )

    def _command(self) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise ClusterError(
                "kubectl is not on the PATH, and a cluster is reached by it: install it as "
                "https://kubernetes.io/docs/tasks/tools says, or give --admin-address"
            )
        command = [program]
        if self.kubeconfig:
            command.append(f"--kubeconfig={self.kubeconfig}")
        if self.context:
            command.append(f"--context={self.context}")
        return command


class Forward:
    """`kubectl port-forward`, from `start_forward` until the end of its block."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for us: it ends with our block
            preexec_fn=_with_us(),
        )

    def address(self, deadline_s: float = FORWARD_S) -> str:
        """HOST:PORT here, when it is there. Raises `ClusterError`."""
        ends_s = time.monotonic() + deadline_s
        said = b""
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while (found := _FORWARDED.search(said)) is None:
                left_s = ends_s - time.monotonic()
                if left_s <= 0 or not ready.select(left_s):
                    raise ClusterError(
                        f"no way to the pod within {deadline_s:.3g} s: {self._said()}"
                    )
                chunk = os.read(stream.fileno(), 65_536)
                if not chunk:
                    self._process.wait(END_S)
                    raise ClusterError(f"no way to the pod: {self._said()}")
                said += chunk
        return found[1].decode()

    def last(self) -> None:
        """Wait for it to end, which is for somebody else to do. Raises `ClusterError` when it does.

        kubectl tells of every connection; what nobody reads would stop it at last.
        """
        assert self._process.stdout is not None
        while os.read(self._process.stdout.fileno(), 65_536):
            pass
        self._process.wait(END_S)
        raise ClusterError(f"the way to the pod has ended: {self._said()}")

    def close(self) -> None:
        """End it, and be sure that it has."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _said(self) -> str:
        self._errors.seek(0)
        return _words(self._errors.read(65_536)) or "kubectl said nothing"


@contextlib.contextmanager
def forwarded(
    kubectl: Kubectl, pods: Sequence[tuple[str, str, int]], deadline_s: float = FORWARD_S
) -> Iterator[list[str | ClusterError]]:
    """Ways to these pods (namespace, name, port), opened together: HOST:PORT here, or why not."""
    with contextlib.ExitStack() as closing:
        started: list[Forward] = []
        for namespace, pod, port in pods:
            started.append(kubectl.start_forward(namespace, pod, port))
            closing.callback(started[-1].close)
        ends_s = time.monotonic() + deadline_s
        found: list[str | ClusterError] = []
        for one in started:
            try:
                found.append(one.address(max(0.0, ends_s - time.monotonic())))
            except ClusterError as error:
                found.append(error)
        yield found


def _with_us() -> Callable[[], None] | None:
    """What has the kernel end a child with us, where the kernel can."""
    if sys.platform != "linux":
        return None
    from controlplane.lab.envoy import die_with_parent

    return die_with_parent


def _json(raw: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ClusterError(f"kubectl printed no JSON ({error})") from error


def _each(text: str) -> Iterator[dict[str, Any]]:
    """One document after another, as kubectl prints what it made.

    >>> list(_each('{"a": 1} {"a": 2} '))
    [{'a': 1}, {'a': 2}]
    """
    reader, rest = json.JSONDecoder(), text.strip()
    while rest:
        try:
            one, end = reader.raw_decode(rest)
        except ValueError as error:
            raise ClusterError(f"kubectl printed no JSON ({error})") from error
        rest = rest[end:].lstrip()
        yield one


def _singular(kind: object) -> str:
    return str(kind or "").removesuffix("List")


def _refused(verb: str, error: bytes) -> ClusterError:
    words = _words(error) or "it said nothing"
    found = _REASON.search(words)
    if found is not None:
        return ClusterError(f"the cluster refuses ({found[1]}): {found[2]}", found[1])
    return ClusterError(f"kubectl {verb}: {words}")


def _words(error: bytes) -> str:
    """Its last lines, as one."""
    lines = [one.strip() for one in error.decode(errors="replace").splitlines() if one.strip()]
    return " ".join(lines[-3:])[-1000:]
