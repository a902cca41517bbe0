"""`weir dashboard`: pages of a cluster on this machine, for as long as the command runs.

After `istioctl dashboard`: the pod is found by its labels, a port of this machine leads to it by
`kubectl port-forward`, and the browser is opened there.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Annotated, Any

import typer

from controlplane.cli import names
from controlplane.cli.installed import is_ready, running_pods
from controlplane.cli.kubectl import LOOPBACK, ClusterError, Kubectl
from controlplane.cli.reach import ContextOption, KubeconfigOption
from controlplane.settings import Address

GRAFANA_PORT = 3000
PROMETHEUS_PORT = 9090
ENVOY_PORT = 9901
"""The admin interface in the bootstraps of ours."""
OURS = "weir"
"""`app.kubernetes.io/part-of` of what Weir's chart brings."""
_BROWSERS = {
    "linux": ("xdg-open",),
    "darwin": ("open",),
    "win32": ("rundll32", "url.dll,FileProtocolHandler"),
}

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


class Answer(StrEnum):
    """What `--browser` takes."""

    TRUE = "true"
    FALSE = "false"


WhereOption = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Where it is. [found by its labels]",
        autocompletion=names.namespaces,
    ),
]
PodsOption = Annotated[
    str | None,
    typer.Option("--selector", "-l", help="Other labels by which it is found."),
]
PortOption = Annotated[
    int,
    typer.Option(
        "--port",
        "-p",
        min=0,
        max=65535,
        show_default=False,
        help="Of this machine. [as there, or one that is free]",
    ),
]
AddressOption = Annotated[
    str,
    typer.Option(
        "--address", help="Of this machine; with another than the loopback others see it."
    ),
]
BrowserOption = Annotated[Answer, typer.Option("--browser", help="Whether to open a browser.")]
UiPortOption = Annotated[
    int | None, typer.Option("--ui-port", min=1, max=65535, help="Its port in the pod.")
]


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown: a port of a pod."""

    namespace: str
    pod: str
    port: int


@dataclass(frozen=True, slots=True)
class Here:
    """Where on this machine."""

    port: int
    """0: as there, if that is free."""
    address: str
    browser: bool


@app.callback()
def dashboard() -> None:
    """A way to a page of a cluster, and the browser there, until Ctrl-C."""


def _of_chart(name: str, there: int) -> None:
    """The verb for a page that Weir's chart may have brought; `there` is its port."""

    @app.command(name, help=f"{name.title()}: that of Weir's chart, or the only one that there is.")
    def command(
        context: ContextOption = None,
        kubeconfig: KubeconfigOption = None,
        namespace: WhereOption = None,
        selector: PodsOption = None,
        port: PortOption = 0,
        address: AddressOption = LOOPBACK,
        browser: BrowserOption = Answer.TRUE,
        ui_port: UiPortOption = None,
    ) -> None:
        kubectl = Kubectl(context, kubeconfig)
        page = find(kubectl, name, namespace, selector, ui_port or there)
        show(kubectl, page, Here(port, address, browser is Answer.TRUE))


_of_chart("grafana", GRAFANA_PORT)
_of_chart("prometheus", PROMETHEUS_PORT)


@app.command("envoy")
def envoy(
    pod: Annotated[
        str,
        typer.Argument(
            metavar="POD", help="NAME or NAMESPACE/NAME.", autocompletion=names.envoy_pods
        ),
    ],
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            help="Where it is. [that of the context]",
            autocompletion=names.namespaces,
        ),
    ] = None,
    port: PortOption = 0,
    address: AddressOption = LOOPBACK,
    browser: BrowserOption = Answer.TRUE,
    ui_port: UiPortOption = None,
) -> None:
    """The admin interface of an Envoy, by which it can also be changed and ended."""
    kubectl = Kubectl(context, kubeconfig)
    home, _, name = pod.rpartition("/")
    page = Page(home or namespace or kubectl.namespace(), name, ui_port or ENVOY_PORT)
    show(kubectl, page, Here(port, address, browser is Answer.TRUE))


def find(
    kubectl: Kubectl, name: str, namespace: str | None, selector: str | None, port: int
) -> Page:
    """The pod with these labels; without a selector one of Weir's chart wins over those of others.
    Raises `ClusterError` where there is none, or several in several namespaces."""
    labels = selector or f"app.kubernetes.io/name={name}"
    pods = running_pods(kubectl, namespace, labels)
    if not selector:
        pods = [one for one in pods if _is_ours(one)] or pods
    homes = sorted({one["metadata"]["namespace"] for one in pods})
    if not pods:
        where = f"in the namespace {namespace}" if namespace else "in the cluster"
        raise ClusterError(
            f"no pod of {name} runs {where} (labels {labels}); Weir's chart brings one with "
            "monitoring.enabled, and another's is found by --namespace and --selector"
        )
    if len(homes) > 1:
        raise ClusterError(
            f"there is a {name} in each of {', '.join(homes)}; say which with --namespace"
        )
    first = min(pods, key=lambda one: (not is_ready(one), one["metadata"]["name"]))
    return Page(homes[0], first["metadata"]["name"], port)


def show(kubectl: Kubectl, page: Page, here: Here) -> None:
    """Lead there until somebody ends it. Raises `ClusterError` where there is no way any more."""
    port = here.port or (page.port if _is_free(here.address, page.port) else 0)
    with _until_told(), contextlib.ExitStack() as closing:
        forward = kubectl.start_forward(
            page.namespace, page.pod, page.port, here=port, address=here.address
        )
        closing.callback(forward.close)
        url = f"http://{forward.address()}"
        typer.echo(url)
        if not Address(here.address, port).loopback:
            typer.echo(f"weir: whoever reaches this machine at {here.address} sees it", err=True)
        browser = _browse(url) if here.browser else None
        if here.browser and browser is None:
            typer.echo("weir: no browser could be started; open it yourself", err=True)
        forward.last()


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """Ctrl-C ends the block and is no error; whoever ends us otherwise ends the block first."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signals = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    heeded = [one for one in signals if signal.getsignal(one) is not signal.SIG_IGN]  # nohup
    before = [(one, signal.signal(one, end)) for one in heeded]
    try:
        yield
    except KeyboardInterrupt:
        typer.echo()
    finally:
        for one, handler in before:
            signal.signal(one, handler)


def _browse(url: str) -> subprocess.Popen[bytes] | None:
    """The program that opens it, as the desktop has it; None: there is none."""
    words = _BROWSERS.get(sys.platform, ())
    program = shutil.which(words[0]) if words else None
    if program is None:
        return None
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [program, *words[1:], url], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def _is_ours(pod: dict[str, Any]) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of") == OURS)


def _is_free(address: str, port: int) -> bool:
    """Whether somebody may listen there now."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address, port))
    except OSError:
        return False
    return True
