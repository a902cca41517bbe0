"""A client of the state machine for tests: asks, acknowledges, and reads what comes, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.xds.cache import SnapshotCache
from controlplane.xds.effects import Acked, Close, Effect, Nacked, Request, Send, Unknown
from controlplane.xds.kinds import KINDS
from controlplane.xds.steps import Mode
from controlplane.xds.stream import Stream, View

URLS = {kind.name: kind.type_url for kind in KINDS.values()}
GROUP = "group"


def url(name: str) -> str:
    return URLS.get(name, f"type.googleapis.com/test.{name}")


def short(type_url: str) -> str:
    return KINDS[type_url].name if type_url in KINDS else type_url.rpartition(".")[2]


def shown(body: bytes) -> str:
    return body.decode("unicode_escape").encode("unicode_escape").decode()


class Session:
    """One stream over a cache. For traces, versions and nonces get names
    in the order they are seen."""

    def __init__(self, mode: Mode, **types: Mapping[str, str]) -> None:
        self.mode = mode
        self.cache = SnapshotCache()
        self.resources: dict[str, dict[str, bytes]] = {}
        self._write(types)
        self.last: dict[str, Send] = {}
        self.stream = Stream(mode, self.view())
        self.sent: list[Send] = []
        self._versions: dict[str, str] = {}
        self.nonces: dict[str, str] = {}
        """Label -> nonce, of a session whose lines are labelled."""
        self.label = False

    def connect(self) -> None:
        """A new stream in place of the one there was."""
        self.stream = Stream(self.mode, self.view())
        self.last = {}

    def view(self) -> View:
        view = self.cache.view(GROUP)
        assert view is not None
        return view

    def _write(self, types: Mapping[str, Mapping[str, str]]) -> None:
        for name, bodies in types.items():
            self.resources[url(name)] = {key: body.encode() for key, body in bodies.items()}
        self.cache.set(GROUP, self.resources)

    def set(self, **types: Mapping[str, str]) -> list[str]:
        """Replace whole types of the snapshot."""
        self._write(types)
        return self.told(self.stream.on_view(self.view()))

    def forget(self, name: str) -> list[str]:
        """Take a type out of the snapshot altogether."""
        del self.resources[url(name)]
        self.cache.set(GROUP, self.resources)
        return self.told(self.stream.on_view(self.view()))

    def ask(
        self,
        name: str,
        *names: str,
        drop: Iterable[str] = (),
        nonce: str = "",
        error: str | None = None,
        initial: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Any request at all. Delta: `names` are added and `drop` is taken away."""
        request = Request(url(name), nonce, error, frozenset(names), frozenset(drop), initial or {})
        return self.told(self.stream.on_request(request))

    def ack(self, name: str, *names: str, drop: Iterable[str] = ()) -> list[str]:
        """Take what was sent last."""
        return self.ask(name, *names, drop=drop, nonce=self.last[name].nonce)

    def nack(self, name: str, *names: str, error: str = "bad") -> list[str]:
        """Refuse what was sent last."""
        return self.ask(name, *names, nonce=self.last[name].nonce, error=error)

    def version(self, name: str) -> str:
        """The version of a type in the snapshot."""
        return self.cache.version(GROUP, url(name))

    def resource_version(self, name: str, key: str) -> str:
        return self.view()[url(name)].by_name[key].version

    def told(self, effects: list[Effect]) -> list[str]:
        """What comes of it, in words."""
        return [self._line(effect) for effect in effects]

    def _line(self, effect: Effect) -> str:
        match effect:
            case Send(type_url, _, step):
                name = short(type_url)
                self.sent.append(effect)
                self.last[name] = effect
                parts = [f"{one.name}={shown(one.body)}" for one in step.resources]
                parts += [f"-{gone}" for gone in step.removed]
                return " ".join(["send", name, *parts, *self._labels(effect)])
            case Acked(type_url):
                return f"acked {short(type_url)}"
            case Nacked(type_url, _, message):
                return f"nacked {short(type_url)} {message}"
            case Unknown(type_url):
                return f"unknown {short(type_url)}"
            case Close(code):
                return f"close {code}"

    def _labels(self, send: Send) -> list[str]:
        """Short names for a version and a nonce, for traces."""
        if not self.label:
            return []
        version = self._versions.setdefault(send.step.version, f"v{len(self._versions) + 1}")
        label = f"n{len(self.nonces) + 1}"
        self.nonces[label] = send.nonce
        return [f"[{version} {label}]"]
