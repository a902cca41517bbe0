"""The one gatekeeper of the Kubernetes client: JSON in, JSON out, every wait with a deadline.

The library reads the configuration (a kubeconfig, or what a pod is given), renews tokens and keeps
the connections. Its models are not used: objects go on as the JSON that they are, see `documents`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from kubernetes_asyncio import client, config

from controlplane.errors import StartupError
from controlplane.kubernetes.errors import ApiError
from controlplane.kubernetes.resource import Resource

Object = dict[str, Any]
Method = Literal["GET", "POST", "PUT", "PATCH"]
Counted = Callable[[str, str, int], None]
"""Told of each call: verb, what of (`gateways`, `leases`), status; 0 where there was no answer."""

REQUEST_S = 15.0
"""A request that is no watch is answered within this."""
LATE_S = 5.0
"""A watch that did not end this long after it was to is dropped."""
PAGE = 500
"""Objects in one answer of a list."""
MOST_PAGES = 10_000
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

    def __init__(self, connection: client.ApiClient, counted: Counted = lambda *_: None) -> None:
        self._connection = connection
        self._counted = counted
        self._host = str(connection.configuration.host).rstrip("/")

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None, context: str, counted: Counted = lambda *_: None
    ) -> Api:
        """By a kubeconfig, or as the pod that this runs in. Raises `StartupError`."""
        settings = client.Configuration()
        if kubeconfig is not None and not kubeconfig.is_file():  # noqa: ASYNC240
            raise StartupError(f"no way to the API of Kubernetes: there is no file {kubeconfig}")
        try:
            if kubeconfig is None and not context:
                try:
                    config.load_incluster_config(client_configuration=settings)
                    return cls(client.ApiClient(settings), counted)
                except config.ConfigException:
                    pass  # not in a pod: what kubectl would use
            await config.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context or None,
                client_configuration=settings,
            )
        except (config.ConfigException, OSError) as error:
            raise StartupError(
                f"no way to the API of Kubernetes: {error}; give --kubeconfig FILE, or run it in a "
                "pod with a service account"
            ) from error
        return cls(client.ApiClient(settings), counted)

    async def close(self) -> None:
        """Let the connections go."""
        await self._connection.close()

    async def get(self, path: str) -> Object:
        """What stands at a path. Raises `ApiError`."""
        return await self._call("GET", path, what=_what(path))

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """One more. Raises `ApiError`, with `conflict` where it is there already."""
        return await self._call("POST", path, body=body, what=_what(f"{path}/new"))

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """In its place, if its resourceVersion is still that of `body`. Raises `ApiError`."""
        return await self._call("PUT", path, body=body, what=_what(path))

    async def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        """Changes of fields (RFC 7396). Raises `ApiError`."""
        return await self._call("PATCH", path, body=body, what=_what(path))

    async def merge_lists(self, path: str, body: Mapping[str, Any]) -> Object:
        """The same, but of lists with names the entries alone that are named (a strategic merge
        patch); kinds of Kubernetes itself have it. Raises `ApiError`."""
        return await self._call("PATCH", path, body=body, what=_what(path), media=_STRATEGIC)

    async def list(self, resource: Resource, namespace: str, selector: str = "") -> Listed:
        """All objects of a kind, page by page. Raises `ApiError`."""
        found: list[Object] = []
        query = {"limit": str(PAGE), **({"fieldSelector": selector} if selector else {})}
        for _ in range(MOST_PAGES):
            page = await self._call(
                "GET", resource.path(namespace), query, verb="LIST", what=resource.plural
            )
            found += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listed(tuple(found), str(metadata.get("resourceVersion", "")))
            query["continue"] = metadata["continue"]
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
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ApiError(int(status.get("code", 0)), str(status.get("message", "")))
                    yield event["type"], event["object"]
        except TimeoutError:
            return  # it said nothing of its end: the next one begins where this one stopped
        except (aiohttp.ClientError, ValueError, KeyError) as error:
            raise ApiError(0, str(error) or repr(error)) from error

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
        try:
            async with asyncio.timeout(REQUEST_S):
                timeout = aiohttp.ClientTimeout(total=REQUEST_S)
                async with await self._send(method, path, query, timeout, body, media) as answer:
                    status = answer.status
                    await _require_good(answer)
                    found: Object = json.loads(await answer.read())
                    return found
        except TimeoutError as error:
            raise ApiError(0, f"no answer within {REQUEST_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiError(0, str(error) or repr(error)) from error
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
        await self._connection.update_params_for_auth(headers, [], ["BearerToken"])
        if body is not None:
            headers["Content-Type"] = media or (_MERGE if method == "PATCH" else _JSON)
        rest = self._connection.rest_client
        answer: aiohttp.ClientResponse = await rest.pool_manager.request(
            method,
            self._host + path,
            params=query,
            headers=headers,
            data=json.dumps(body) if body is not None else None,
            timeout=timeout,
            proxy=rest.proxy,
            proxy_headers=rest.proxy_headers,
            server_hostname=rest.server_hostname,
        )
        return answer


async def _require_good(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 300:
        return
    text = await answer.text()
    try:
        said = json.loads(text)
        message = str(said.get("message", "")) if isinstance(said, dict) else text
    except ValueError:
        message = text
    raise ApiError(answer.status, message[:1000])


def _what(path: str) -> str:
    """The kind of object that a path is of: `/apis/GROUP/v1/namespaces/NS/PLURAL/NAME[/status]`."""
    parts = [one for one in path.split("/") if one]
    parts = parts[3:] if parts[:1] == ["apis"] else parts[2:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    if not parts:
        return "discovery"
    return f"{parts[0]}/status" if parts[-1] == "status" else parts[0]
