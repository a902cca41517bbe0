"""The one gatekeeper of the Kubernetes client: JSON in, JSON out, every wait with a deadline.

The library reads the configuration (a kubeconfig, or what a pod is given) and keeps the
connections. Its models are not used: objects go on as the JSON that they are, see `documents`. What
the server says is not believed to be whole: what is no object with a name is an error here.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
import structlog
import yaml
from aiohttp.http_exceptions import HttpProcessingError
from kubernetes_asyncio import client, config

from controlplane.errors import StartupError
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.resource import Resource

logger = structlog.get_logger(__name__)

Object = dict[str, Any]
Method = Literal["GET", "POST", "PUT", "PATCH"]
Counted = Callable[[str, str, int], None]
"""Told of each call: verb, what of (`gateways`, `leases`), status; 0 where there was no answer."""
Connects = Callable[[], Awaitable[client.ApiClient]]
"""Makes a connection by what the configuration says now."""

REQUEST_S = 15.0
"""What is read, unless by a watch, is there within this."""
WRITE_S = 5.0
"""A write is answered within this: one that the holder of a Lease begins is over before anybody
else may take it, see `lease`."""
LATE_S = 5.0
"""A watch that did not end this long after it was to is dropped."""
PAGE = 500
"""Objects in one answer of a list."""
MOST_PAGES = 10_000
RENEW_S = 10.0
"""Between two looks at the configuration, when credentials are not good any more."""
MOST_RETRY_AFTER_S = 30.0
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading something of another shape raises."""
_DISCOVERY = "discovery"
_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class Listed:
    """What is there, and since when to watch."""

    objects: tuple[Object, ...]
    version: str


class Api:
    """One API server."""

    def __init__(
        self,
        connection: client.ApiClient,
        counted: Counted = lambda *_: None,
        connects: Connects | None = None,
    ) -> None:
        """`connects`: how to come back when a token, a certificate or a CA was replaced."""
        self._connection = connection
        self._counted = counted
        self._connects = connects
        self._before: client.ApiClient | None = None
        """Used until lately: its watches go on."""
        self._renewed_s = -RENEW_S

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None, context: str, counted: Counted = lambda *_: None
    ) -> Api:
        """By a kubeconfig, or as the pod that this runs in. Raises `StartupError`."""
        if kubeconfig is not None and not kubeconfig.is_file():  # noqa: ASYNC240
            raise StartupError(f"no way to the API of Kubernetes: there is no file {kubeconfig}")

        async def connects() -> client.ApiClient:
            try:
                async with asyncio.timeout(REQUEST_S):
                    return client.ApiClient(await _configured(kubeconfig, context))
            except TimeoutError:
                raise config.ConfigException(f"no credentials within {REQUEST_S:g} s") from None
            except (*_BROKEN, AssertionError, OSError, yaml.YAMLError) as error:
                # A file that is just being written is of any shape.
                raise config.ConfigException(str(error) or repr(error)) from error

        try:
            return cls(await connects(), counted, connects)
        except config.ConfigException as error:
            raise StartupError(
                f"no way to the API of Kubernetes: {error}; give --kubeconfig FILE, or run it in a "
                "pod with a service account"
            ) from error

    @property
    def host(self) -> str:
        """Where it is."""
        return str(self._connection.configuration.host).rstrip("/")

    async def close(self) -> None:
        """Let the connections go."""
        for one in (self._connection, self._before):
            if one is not None:
                await one.close()

    async def get(self, path: str) -> Object:
        """What stands at a path. Raises `ApiError`."""
        what = _what(path)
        found = await self._read(path, {}, "GET", what)
        return found if what == _DISCOVERY else _whole(found)

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """One more. Raises `ApiError`, with `conflict` where it is there already."""
        return _whole(await self._call("POST", path, body=body, what=_what(f"{path}/new")))

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """In its place, if its resourceVersion is still that of `body`. Raises `ApiError`."""
        return _whole(await self._call("PUT", path, body=body, what=_what(path)))

    async def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        """Changes of fields (RFC 7396). Raises `ApiError`."""
        return _whole(await self._call("PATCH", path, body=body, what=_what(path)))

    async def merge_lists(self, path: str, body: Mapping[str, Any]) -> Object:
        """The same, but of lists with names the entries alone that are named (a strategic merge
        patch); kinds of Kubernetes itself have it. Raises `ApiError`."""
        what = _what(path)
        return _whole(await self._call("PATCH", path, body=body, what=what, media=_STRATEGIC))

    async def list(self, resource: Resource, namespace: str, selector: str = "") -> Listed:
        """All objects of a kind, page by page; in one where the server forgot the list before its
        last page, as client-go has it. Raises `ApiError`."""
        query = {"fieldSelector": selector} if selector else {}
        try:
            return await self._pages(resource, namespace, {**query, "limit": str(PAGE)})
        except ApiError as error:
            if not error.gone:
                raise
            return await self._pages(resource, namespace, query)

    async def _pages(self, resource: Resource, namespace: str, query: Mapping[str, str]) -> Listed:
        found: list[Object] = []
        path, token = resource.path(namespace), ""
        for _ in range(MOST_PAGES):
            asked = {**query, "continue": token} if token else query
            page = await self._read(path, asked, "LIST", resource.plural)
            try:
                found += [_named(one) for one in page["items"] or ()]
                metadata = page["metadata"]
                token = metadata.get("continue") or ""
                if not token:
                    return Listed(tuple(found), str(metadata["resourceVersion"]))
            except _BROKEN as error:
                raise ApiError(0, f"{resource.plural}: no list: {error!r}") from error
        raise ApiError(0, f"{resource.plural}: more than {MOST_PAGES * PAGE} objects")

    async def watch(
        self, resource: Resource, namespace: str, version: str, for_s: int, selector: str = ""
    ) -> AsyncGenerator[tuple[str, Object]]:
        """What changes after a version: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` and the object,
        until `for_s` seconds are over or the server ends it. Raises `ApiError`, with `gone` where
        the version is too old.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(for_s),
            **({"fieldSelector": selector} if selector else {}),
        }
        timeout = aiohttp.ClientTimeout(
            total=for_s + LATE_S, sock_connect=REQUEST_S, sock_read=for_s + LATE_S
        )
        try:
            async with await self._send("GET", resource.path(namespace), query, timeout) as answer:
                self._counted("WATCH", resource.plural, answer.status)
                await _require_good(answer)
                async for line in answer.content:
                    yield _event(line)
        except TimeoutError:
            return  # it said nothing of its end: the next one begins where this one stopped
        except HttpProcessingError as error:  # a line of more than 4 MiB
            raise ApiError(410, f"an event that is too large: {resource.plural}") from error
        except (aiohttp.ClientError, OSError) as error:
            await self._renew(error)
            raise ApiError(0, str(error) or repr(error)) from error
        except ApiError as error:
            await self._renew(error)
            raise

    async def _read(self, path: str, query: Mapping[str, str], verb: str, what: str) -> Object:
        """Asked again after a while where the server wants that, and there is time for it."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + REQUEST_S
        while True:
            try:
                return await self._call("GET", path, query, verb=verb, what=what)
            except ApiError as error:
                if not error.retry_after_s or loop.time() + error.retry_after_s > ends_s:
                    raise
                await asyncio.sleep(error.retry_after_s)

    async def _call(
        self,
        method: Method,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        verb: str = "",
        what: str = "",
        media: str = "",
    ) -> Object:
        status = 0
        deadline_s = REQUEST_S if method == "GET" else WRITE_S
        try:
            async with asyncio.timeout(deadline_s):
                timeout = aiohttp.ClientTimeout(total=deadline_s)
                async with await self._send(method, path, query, timeout, body, media) as answer:
                    status = answer.status
                    await _require_good(answer)
                    return _object(await answer.read())
        except TimeoutError as error:
            raise ApiError(0, f"no answer within {deadline_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            await self._renew(error)
            raise ApiError(0, str(error) or repr(error)) from error
        except ApiError as error:
            await self._renew(error)
            raise
        finally:
            self._counted(verb or method, what, status)

    async def _send(
        self,
        method: Method,
        path: str,
        query: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, Any] | None = None,
        media: str = "",
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "User-Agent": "weir"}
        try:
            await self._connection.update_params_for_auth(headers, [], ["BearerToken"])
        except (config.ConfigException, ValueError) as error:
            raise ApiError(0, f"the token cannot be read: {error}") from error
        if body is not None:
            headers["Content-Type"] = media or (_MERGE if method == "PATCH" else _JSON)
        rest = self._connection.rest_client
        answer: aiohttp.ClientResponse = await rest.pool_manager.request(
            method,
            self.host + path,
            params=query,
            headers=headers,
            data=json.dumps(body) if body is not None else None,
            timeout=timeout,
            proxy=rest.proxy,
            proxy_headers=rest.proxy_headers,
            server_hostname=rest.server_hostname,
        )
        return answer

    async def _renew(self, error: Exception) -> None:
        """Read the configuration again where it may be that it has changed: the server does not
        know us, or we do not trust it. What was read before stays in use where that fails."""
        distrust = isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or isinstance(
            error.__cause__, ssl.SSLError
        )
        lost = distrust or (isinstance(error, ApiError) and error.unknown)
        now_s = asyncio.get_running_loop().time()
        if self._connects is None or not lost or now_s - self._renewed_s < RENEW_S:
            return
        self._renewed_s = now_s
        try:
            renewed = await self._connects()
        except config.ConfigException as wrong:
            logger.warning("credentials were not read again", why=str(wrong))
            return
        oldest, self._before, self._connection = self._before, self._connection, renewed
        if oldest is not None:
            await oldest.close()


async def _configured(kubeconfig: Path | None, context: str) -> client.Configuration:
    """As it is now. Raises `ConfigException`, and whatever reading something of another shape
    raises."""
    settings = client.Configuration()
    if kubeconfig is None and not context:
        try:
            config.load_incluster_config(client_configuration=settings)
            return settings
        except config.ConfigException:
            pass  # not in a pod: what kubectl would use
    await config.load_kube_config(
        config_file=str(kubeconfig) if kubeconfig else None,
        context=context or None,
        client_configuration=settings,
    )
    return settings


def _object(body: bytes) -> Object:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(0, f"an answer that is no JSON: {error!r}") from error
    if not isinstance(found, dict):
        raise ApiError(0, "an answer that is no object")
    return found


def _named(item: Object) -> Object:
    """An object that says what it is called. Raises what `_BROKEN` names."""
    if not isinstance(item["metadata"]["name"], str):
        raise TypeError("a name that is no text")
    return item


def _whole(item: Object) -> Object:
    """The same, where it is an object in some version. Raises `ApiError`: a portal that somebody
    has to log in at answers 200, too."""
    try:
        if not isinstance(item["metadata"]["resourceVersion"], str):
            raise TypeError("a version that is no text")
        return _named(item)
    except _BROKEN as error:
        raise ApiError(0, f"an answer that is no object: {error!r}") from error


def _event(line: bytes) -> tuple[str, Object]:
    """One line of a watch. Raises `ApiError`, where it tells of one too."""
    try:
        event = json.loads(line)
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            said = ApiError(int(item.get("code", 0)), str(item.get("message", "")))
        elif isinstance(item["metadata"]["resourceVersion"], str):
            return kind, item if kind == "BOOKMARK" else _named(item)
        else:
            raise TypeError("a version that is no text")
    except _BROKEN as error:
        raise ApiError(0, f"an event that is none: {error!r}") from error
    raise said


def _retry_after_s(answer: aiohttp.ClientResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), MOST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0


async def _require_good(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 300:
        return
    # Not always its own words: a proxy before it has pages in any encoding.
    text = (await answer.read()).decode(errors="replace")
    try:
        said = json.loads(text)
        message = str(said.get("message", "")) if isinstance(said, dict) else text
    except (ValueError, RecursionError):
        message = text
    raise ApiError(answer.status, message[:1000], _retry_after_s(answer))


def _what(path: str) -> str:
    """The kind of object that a path is of: `/apis/GROUP/v1/namespaces/NS/PLURAL/NAME[/status]`."""
    parts = [one for one in path.split("/") if one]
    parts = parts[3:] if parts[:1] == ["apis"] else parts[2:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    if not parts:
        return _DISCOVERY
    return f"{parts[0]}/status" if parts[-1] == "status" else parts[0]
