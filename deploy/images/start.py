"""Start what a rehearsal built as its image would be: its user and environment, a read-only root.

Each start has a network of its own. In Kubernetes that is the API server of the tests; the image
gives its definitions (`weir crds`), and a Backend that kubectl makes must get its status from it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.images.dockerfile import Stage

REPOSITORY = Path(__file__).parents[2]
NETWORK = "weir-image"
API_PORT = 16443
STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 15.0
TRAINS_WITHIN_S = 600.0
LITTLE = ("regions-ppo", "--steps", "1000", "--workers", "1", "--to", "/out/release")
"""A recipe whose releases are not evaluated, which takes longer than a little training."""
BACKEND = """
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: web, namespace: default}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 9001}}]}
"""


@dataclass(frozen=True, slots=True)
class Built:
    """A root, the stage that made it, and a folder for what comes along."""

    stage: Stage
    root: Path
    folder: Path

    @property
    def documents(self) -> Path:
        """Seen inside as /etc/weir."""
        made = self.folder / "documents"
        made.mkdir(exist_ok=True)
        return made

    @property
    def writable(self) -> str:
        """The one folder beside /tmp that its user may write to."""
        return self.stage.environment.get("WEIR_STATE_DIR") or self.stage.last("WORKDIR")

    def inside(self, command: Sequence[str]) -> str:
        """The command as a container would start it, for a shell."""
        environment = {"PATH": "/usr/bin:/bin", **self.stage.environment}
        pairs = [f"{name}={value}" for name, value in environment.items()]
        user = f"--userspec={self.stage.last('USER')}"
        where = self.stage.last("WORKDIR") or "/"
        entered = ("chroot", user, str(self.root), "env", "-i", f"--chdir={where}")
        return shlex.join([*entered, *pairs, *command])

    def mounted(self, command: Sequence[str]) -> str:
        """And what it sees of files: nothing of its own can be written."""
        (self.root / "etc/weir").mkdir(exist_ok=True)
        at, documents = shlex.quote(str(self.root)), shlex.quote(str(self.documents))
        return " && ".join(
            (
                f"mount --bind {at} {at}",
                f"mount -o remount,ro,bind {at}",
                f"mount -t proc proc {at}/proc",
                f"mount --rbind /dev {at}/dev",
                f"mount -t tmpfs tmpfs {at}/tmp",
                f"mount -t tmpfs -o uid=65532,mode=700 tmpfs {at}{self.writable}",
                f"mount --bind {documents} {at}/etc/weir",
                f"exec {self.inside(command)}",
            )
        )


def start(
    built: Built, command: Sequence[str], works: Callable[[], bool] = lambda: True
) -> dict[str, object]:
    """Start the image with a command, until its health check passes and it `works`; then end it."""
    log = built.folder / "started.log"
    entry = built.stage.words_of("ENTRYPOINT")
    script = built.mounted([*entry, *command])
    with log.open("wb") as out:
        process = subprocess.Popen(
            _within("unshare", "--mount", "sh", "-c", script), stdout=out, stderr=out
        )
    began = time.monotonic()
    try:
        check = built.inside(built.stage.words_of("HEALTHCHECK"))
        enter = ["nsenter", "-t", str(process.pid), "-m", "-n", "sh", "-c", check]

        def healthy() -> bool:
            return subprocess.run(enter, capture_output=True, timeout=30).returncode == 0

        def running() -> bool:
            return process.poll() is None

        is_healthy = _until(healthy, running)
        healthy_s = round(time.monotonic() - began, 1)
        does_work = is_healthy and _until(works, running)
        status = Path(f"/proc/{process.pid}/status")
        who = status.read_text() if is_healthy else ""
        process.send_signal(signal.SIGTERM)
        code = process.wait(ENDS_WITHIN_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    uid = next((line.split()[1] for line in who.splitlines() if line.startswith("Uid")), "")
    memory = next((line.split()[1] for line in who.splitlines() if line.startswith("VmRSS")), "0")
    fine = does_work and code == 0
    last = log.read_text(errors="replace").splitlines()[-5:]
    return {
        "healthy": is_healthy,
        "works": does_work,
        "healthy_after_s": healthy_s,
        "rss_mb": round(int(memory) / 1024, 1),
        "uid": uid,
        "exit_status": code,
        "last_lines": [] if fine else last,
    }


def start_plain(built: Built) -> dict[str, object]:
    """As the image comes: a folder of documents."""
    with network():
        return start(built, built.stage.words_of("CMD"))


def start_in_kubernetes(built: Built) -> dict[str, object]:
    """As the chart starts it; a Backend must get its status from it."""
    from tests.kubernetes.scene import gateway_api

    with network(), api_server(built.documents / "kubeconfig") as kubectl:
        definitions = _inside_once(built, "crds")
        kubectl("apply", "--server-side", "-f", "-", given=definitions)
        theirs = "\n---\n".join(json.dumps(one) for one in gateway_api())
        kubectl("apply", "--server-side", "-f", "-", given=theirs)
        kubectl("apply", "-f", "-", given=BACKEND)

        def accepted() -> bool:
            where = "-o=jsonpath={.status.conditions[?(@.type=='Accepted')].status}"
            return kubectl("get", "backend", "web", where) == "True"

        command = (
            "serve", "--kubernetes", "--kubeconfig", "/etc/weir/kubeconfig",
            "--lease-namespace", "default",
        )  # fmt: skip
        return start(built, command, accepted)


def train(built: Built) -> dict[str, object]:
    """A policy of few steps, by a recipe of ours: that training works in there, not how well."""
    began = time.monotonic()
    with network():
        _inside_once(built, "train", *LITTLE, within_s=TRAINS_WITHIN_S)
    return {"works": True, "exit_status": 0, "trained_after_s": round(time.monotonic() - began, 1)}


def _inside_once(built: Built, *words: str, within_s: float = 60.0) -> str:
    script = built.mounted([*built.stage.words_of("ENTRYPOINT"), *words])
    return _run(*_within("unshare", "--mount", "sh", "-c", script), within_s=within_s)


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A network with a loopback, and nobody else in it."""
    _run("ip", "netns", "add", NETWORK)
    try:
        _run(*_within("ip", "link", "set", "lo", "up"))
        yield
    finally:
        _run("ip", "netns", "delete", NETWORK)


@contextlib.contextmanager
def api_server(kubeconfig: Path) -> Iterator[Callable[..., str]]:
    """The API server of the tests in that network; yields kubectl."""
    kubeconfig.unlink(missing_ok=True)
    module = (sys.executable, "-m", "tests.kubernetes.apiserver", "--port", str(API_PORT))
    words = _within(*module, "--kubeconfig", str(kubeconfig))
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    beside = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("kubectl")
    try:
        if program is None:
            raise SystemExit("kubectl is not installed: `make tools`")
        if not _until(kubeconfig.exists, lambda: process.poll() is None):
            raise SystemExit("the API server of the tests did not start")
        kubeconfig.chmod(0o644)  # the image's user is not the one who wrote it
        with tempfile.TemporaryDirectory() as cache:  # what it learned of another server is wrong
            where = ("--kubeconfig", str(kubeconfig), "--cache-dir", cache)
            yield lambda *words, given=None: _run(*_within(program, *where, *words), given=given)
    finally:
        process.terminate()
        process.wait(ENDS_WITHIN_S)
        kubeconfig.unlink(missing_ok=True)


def _within(*words: str) -> list[str]:
    return ["ip", "netns", "exec", NETWORK, *words]


def _run(*words: str, given: str | None = None, within_s: float = 60.0) -> str:
    done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=within_s)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(words)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def _until(look: Callable[[], bool], while_: Callable[[], bool]) -> bool:
    """Whether it became true in time, and before the other became false."""
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end and while_():
        if look():
            return True
        time.sleep(0.2)
    return False
