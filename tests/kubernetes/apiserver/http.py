"""HTTP over the API: an ASGI application. Bodies are JSON or YAML, watches are streamed lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import msgspec
import yaml

from tests.kubernetes.apiserver import (
    access,
    discovery,
    errors,
    openapi,
    protobuf,
    reads,
    requests,
    reviews,
    scaling,
    tables,
    versions,
    writes,
)
from tests.kubernetes.apiserver.access import User, Wish
from tests.kubernetes.apiserver.api import Api
from tests.kubernetes.apiserver.errors import ApiError, Object
from tests.kubernetes.apiserver.kinds import Kind
from tests.kubernetes.apiserver.requests import Request
from tests.kubernetes.apiserver.writes import Answer

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

POLL_S = 0.01
MOST_BYTES = 3 * 1024 * 1024
_JSON = (
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_YAML = ("application/yaml", "application/apply-patch+yaml")
_encode = msgspec.json.Encoder().encode


class Cut(Exception):
    """The connection is to break, not to end."""


class App:
    """The ASGI application of one server."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except ApiError as error:
            await _send(send, error.code, error.status(), list(error.headers.items()))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in scope["headers"]}
        path, method = scope["path"], scope["method"]
        if self.api.faults.answer_delay_s:
            await asyncio.sleep(self.api.faults.answer_delay_s)
        if path.startswith(("/api", "/openapi")):
            access.authenticate(headers, self.api.tokens)
        if method == "GET" and path in ("/healthz", "/livez", "/readyz"):
            await _text(send, b"ok")
            return
        if method == "GET" and path == "/version":
            await _send(send, 200, discovery.VERSION)
            return
        found = self._discover(method, path, headers)
        if found is not None:
            whole = found.get("kind") == "APIGroupDiscoveryList"
            media = f"application/json;{discovery.AGGREGATED}" if whole else "application/json"
            await _send(send, 200, found, [("content-type", media)])
            return
        body = await _read(receive)
        request = requests.parse(method, path, query, headers, body)
        kind = self.api.kinds.find(request.group, request.version, request.plural)
        user = access.authenticate(headers, self.api.tokens)
        request = replace(request, user=user.name, groups=user.groups)
        self.api.calls.note(request)
        self.api.faults.meet(request)
        _check_place(request, kind)
        if kind not in reviews.OF_ONESELF:
            access.authorize(self.api.store, user, Wish.of(request))
        if request.part == "log":
            pod = reads.existing(self.api.store, request, kind)
            await _text(send, self.api.kubelet.log(request, pod))
            return
        present = _presented(request, kind, self.api)
        if request.verb == "watch":
            api = self.api
            events = reads.watched(api.store, api.kinds, request, kind, api.bookmark_every_s)
            await self._stream(request, events, present, receive, send)
            return
        answer = await self._do(request, kind)
        warned = [("warning", f'299 - "{_quoted(one)}"') for one in answer.warnings]
        body = _encode(present(answer.body, False))
        garbled = self.api.faults.garbled(request, body)
        await _send_bytes(send, answer.code, garbled, warned, max(len(body), len(garbled)))

    def _discover(self, method: str, path: str, headers: dict[str, str]) -> Object | None:
        if method != "GET":
            return None
        kinds = self.api.kinds
        whole = discovery.AGGREGATED in headers.get("accept", "")
        match [part for part in path.split("/") if part]:
            case ["api"]:
                return discovery.aggregated(kinds, core=True) if whole else discovery.versions("")
            case ["apis"]:
                return discovery.aggregated(kinds, core=False) if whole else discovery.groups(kinds)
            case ["api", version]:
                return discovery.resources(kinds, "", version)
            case ["apis", group]:
                return discovery.group(kinds, group)
            case ["apis", group, version]:
                return discovery.resources(kinds, group, version)
            case ["openapi", "v2"]:
                return openapi.swagger(kinds)
            case ["openapi", "v3"]:
                return openapi.index(kinds)
            case ["openapi", "v3", *rest]:
                return openapi.document(kinds, "/".join(rest))
            case _:
                return None

    async def _do(self, request: Request, kind: Kind) -> Answer:
        api = self.api
        match request.verb:
            case "get":
                one = versions.shown(reads.existing(api.store, request, kind), kind)
                return Answer(scaling.read(one, kind) if request.part == "scale" else one)
            case "list":
                return Answer(reads.listed(api.store, api.faults, request, kind))
            case "create" if kind in reviews.KINDS:
                user = User(request.user, request.groups)
                made = reviews.answered(_object(request), kind, user, api.store, api.tokens)
                return Answer(made, 201)
            case "create" if request.part == "token":
                return Answer(api.issue(request), 201)
            case "create":
                return await writes.create(api, request, kind, _object(request))
            case "update":
                return await writes.update(api, request, kind, _object(request))
            case "patch":
                return await writes.patch(api, request, kind, _parsed(request))
            case "delete":
                return await api.delete(request, kind, _object(request, empty=True))
            case "deletecollection":
                return await api.delete_collection(request, kind, _object(request, empty=True))
            case _:
                raise errors.method_not_allowed()

    async def _stream(
        self,
        request: Request,
        events: AsyncIterator[Object | None],
        present: Present,
        receive: Receive,
        send: Send,
    ) -> None:
        """One event a line, until the watch ends, the client goes or a fault cuts it."""
        faults, told_of = self.api.faults, errors.qualified(request.plural, request.group)
        epoch = faults.watch_epoch
        faults.watches += 1
        number = faults.watches

        def silent() -> bool:
            return faults.stalled or number <= faults.silent_upto

        await _start(send, 200, [("content-type", "application/json")])
        told = False
        away = asyncio.create_task(_gone(receive))
        try:
            async for event in events:
                if faults.watch_epoch != epoch:
                    await self._cut(event, send)
                    return
                if away.done():
                    return
                if event is None:
                    # Headers reach the client although there is nothing to say yet.
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
                    continue
                # A switch that another thread throws.
                while silent() and not away.done() and faults.watch_epoch == epoch:  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
                if faults.watch_delay_s:
                    await asyncio.sleep(faults.watch_delay_s)
                if event["type"] != "ERROR":
                    event = {**event, "object": present(event["object"], told)}
                    told = True
                self.api.calls.told[event["type"], told_of] += 1
                line = faults.garbled(request, _encode(event) + b"\n")
                await send({"type": "http.response.body", "body": line, "more_body": True})
        finally:
            away.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _cut(self, event: Object | None, send: Send) -> None:
        if not self.api.faults.cut_short:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        half = _encode(event or {"type": "ADDED", "object": {}})
        await send(
            {"type": "http.response.body", "body": half[: len(half) // 2], "more_body": True}
        )
        raise Cut


Present: TypeAlias = Callable[[Object, bool], Object]
"""An object or a list as it was asked for; True: columns were told already."""


def _presented(request: Request, kind: Kind, api: Api) -> Present:
    """As a Table, where the client would rather have one."""
    accept = request.headers.get("accept", "").partition(",")[0]
    if request.verb not in ("get", "list", "watch") or request.part:
        return lambda body, _: body
    if "as=PartialObjectMetadata" in accept:
        return lambda body, _: tables.partial(body, kind)
    if tables.ACCEPT not in accept:
        return lambda body, _: body
    include = request.query.get("includeObject", "Metadata")
    return lambda body, bare: tables.table(body, kind, api.source.now(), include, bare)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _check_place(request: Request, kind: Kind) -> None:
    """The path fits the kind: namespaced or not, and with parts that there are."""
    if request.namespace and not kind.namespaced:
        raise errors.no_such_path()
    single = request.name or request.verb == "create"
    if kind.namespaced and single and not request.namespace:
        raise errors.no_such_path()
    if request.part and request.part not in discovery.parts(kind):
        raise errors.no_such_path()
    if request.verb not in kind.verbs:
        raise errors.method_not_allowed()


def _parsed(request: Request) -> Any:  # noqa: ANN401 (whatever a body holds)
    if request.media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(request.body, (*_JSON, *_YAML)) if request.body else None
    if request.media_type not in (*_JSON, *_YAML):
        raise errors.unsupported_media_type(request.media_type, (*_JSON, *_YAML))
    try:
        if request.media_type in _YAML:
            return yaml.safe_load(request.body)
        return msgspec.json.decode(request.body) if request.body else None
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise errors.bad_request(f"the body cannot be read: {error}") from error


def _object(request: Request, *, empty: bool = False) -> Object:
    read = _parsed(request)
    if read is None and empty:
        return {}
    if not isinstance(read, dict):
        raise errors.bad_request("the body is not an object")
    return read


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise errors.bad_request("the client went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            raise ApiError(
                413, "RequestEntityTooLarge", f"Request entity too large: limit is {MOST_BYTES}"
            )
        if not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, code: int, headers: Sequence[tuple[str, str]]) -> None:
    made = [(k.encode(), v.encode("latin-1", "replace")) for k, v in headers]
    await send({"type": "http.response.start", "status": code, "headers": made})


async def _send(
    send: Send, code: int, body: Object, headers: Sequence[tuple[str, str]] = ()
) -> None:
    made = _encode(body)
    await _send_bytes(send, code, made, headers, len(made))


async def _send_bytes(
    send: Send, code: int, made: bytes, headers: Sequence[tuple[str, str]], length: int
) -> None:
    """`length` is what is announced: where it is more, the connection breaks within the body."""
    sent = [*headers, ("content-length", str(length))]
    if not any(name == "content-type" for name, _ in headers):
        sent.append(("content-type", "application/json"))
    await _start(send, code, sent)
    await send({"type": "http.response.body", "body": made})


async def _text(send: Send, body: bytes) -> None:
    await _start(send, 200, [("content-type", "text/plain"), ("content-length", str(len(body)))])
    await send({"type": "http.response.body", "body": body})
