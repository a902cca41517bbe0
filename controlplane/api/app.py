"""The routes of the admin address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from controlplane.errors import WeirError

MAX_BODY_BYTES = 65_536

Side = Literal["intended", "acked"]
"""What an Envoy should run, or what it said that it runs."""

OneType = Annotated[str | None, Query(alias="type", max_length=64)]

Header = Annotated[str, Field(max_length=8192)]
"""`name: value`."""

Body = TypeVar("Body", bound=BaseModel)


class Console(Protocol):
    """What the admin address shows and steers; the app is one."""

    def about(self) -> dict[str, Any]:
        """Which Weir this is, and the settings that it runs with, without what is secret."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether Envoys can be served, and in words why not."""
        ...

    def services(self) -> list[dict[str, Any]]:
        """One line for each declared service."""
        ...

    async def explain(self, service: str, *, attributed: bool = False) -> dict[str, Any] | None:
        """The last tick of a service, `attributed` with which features moved a learned policy;
        None when there is no such service."""
        ...

    async def proxies(self) -> list[dict[str, Any]]:
        """The Envoys that are connected, and what each has of what."""
        ...

    async def proxy(self, node: str) -> dict[str, Any] | None:
        """One of them; None when it is not connected."""
        ...

    async def resources(self, node: str, side: Side, only: str | None) -> dict[str, Any] | None:
        """What one of them should run or has ACKed, of one type or of all; None when it is not
        connected. Raises `WeirError` when that is too much for one answer."""
        ...

    def problems(self) -> list[dict[str, Any]]:
        """What is wrong with the declared documents."""
        ...

    async def status(self) -> list[dict[str, Any]]:
        """Every Gateway, route and policy with its conditions. Raises `WeirError` where it cannot
        be told how far the Envoys are."""
        ...

    def replica(self) -> dict[str, Any] | None:
        """What this process is among several that serve the same; None where it is alone."""
        ...

    def explain_route(
        self, method: str, url: str, headers: Sequence[str], gateway: str | None
    ) -> list[dict[str, Any]]:
        """Which route takes a request. Raises `WeirError` where that cannot be told."""
        ...

    def freeze(self, service: str | None, reason: str, by: str) -> None:
        """Hold a service, or all, until a person resumes."""
        ...

    def resume(self, service: str | None) -> Sequence[str]:
        """Let go again; what is still frozen after that."""
        ...


class FreezeRequest(BaseModel):
    """Body of POST /v1/freeze."""

    model_config = ConfigDict(extra="forbid")

    service: str | None = Field(default=None, max_length=512)
    """`namespace/name`; none means every service."""
    reason: str = Field(default="", max_length=1024)
    by: str = Field(default="", max_length=256)
    """Who; not proved, for the record only."""


class ResumeRequest(BaseModel):
    """Body of POST /v1/resume."""

    model_config = ConfigDict(extra="forbid")

    service: str | None = Field(default=None, max_length=512)


def create_app(
    console: Console, metrics: Callable[[], Awaitable[bytes]], hosts: list[str]
) -> FastAPI:
    """The admin application.

    `metrics` gives the text of /metrics.
    `hosts` are the names under which it may be asked: a page in somebody's browser that resolves
    its own name to this address (DNS rebinding) is refused. Changes take a JSON body, which a
    browser does not send across origins without asking first.
    """
    app = FastAPI(title="Weir", docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.include_router(_health(console, metrics))
    app.include_router(_views(console), prefix="/v1")
    app.include_router(_declared(console), prefix="/v1")
    app.include_router(_switch(console), prefix="/v1")
    return app


def create_probes(console: Console, metrics: Callable[[], Awaitable[bytes]]) -> FastAPI:
    """The application of the probe address: health and metrics, under any name; it only reads."""
    app = FastAPI(title="Weir", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(_health(console, metrics))
    return app


def _health(console: Console, exposition: Callable[[], Awaitable[bytes]]) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def readyz() -> Response:
        ready, why = console.ready()
        return PlainTextResponse(f"{why}\n", status_code=200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(await exposition(), media_type=CONTENT_TYPE_LATEST)

    return router


def _views(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/about")
    async def about() -> dict[str, Any]:
        return console.about()

    @router.get("/services")
    async def services() -> list[dict[str, Any]]:
        return console.services()

    @router.get("/services/{namespace}/{name}/explain")
    async def explain(namespace: str, name: str, attributions: bool = False) -> dict[str, Any]:
        document = await console.explain(f"{namespace}/{name}", attributed=attributions)
        if document is None:
            known = ", ".join(one["service"] for one in console.services()[:20]) or "none"
            raise HTTPException(404, f"no service {namespace}/{name}; declared are: {known}")
        return document

    @router.get("/proxies")
    async def proxies(limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> list[dict[str, Any]]:
        return (await console.proxies())[:limit]

    @router.get("/proxies/{node:path}/intended", responses={404: {}, 413: {}})
    async def intended(node: str, only: OneType = None) -> dict[str, Any]:
        return await _resources(console, node, "intended", only)

    @router.get("/proxies/{node:path}/acked", responses={404: {}, 413: {}})
    async def acked(node: str, only: OneType = None) -> dict[str, Any]:
        return await _resources(console, node, "acked", only)

    @router.get("/proxies/{node:path}", responses={404: {}})
    async def proxy(node: str) -> dict[str, Any]:
        found = await console.proxy(node)
        return found if found is not None else await _not_connected(console, node)

    @router.get("/problems")
    async def problems() -> list[dict[str, Any]]:
        return console.problems()

    return router


async def _resources(console: Console, node: str, side: Side, only: str | None) -> dict[str, Any]:
    try:
        found = await console.resources(node, side, only)
    except WeirError as error:
        raise HTTPException(413, str(error)) from error
    return found if found is not None else await _not_connected(console, node)


async def _not_connected(console: Console, node: str) -> NoReturn:
    known = ", ".join(one["node"] for one in (await console.proxies())[:20]) or "none"
    raise HTTPException(404, f"no Envoy {node!r} is connected; connected are: {known}")


def _declared(console: Console) -> APIRouter:
    """What became of what is declared."""
    router = APIRouter()

    @router.get("/status", responses={503: {}})
    async def status() -> list[dict[str, Any]]:
        try:
            return await console.status()
        except WeirError as error:
            raise HTTPException(503, str(error)) from error

    @router.get("/replica", responses={404: {}})
    async def replica() -> dict[str, Any]:
        found = console.replica()
        if found is None:
            raise HTTPException(404, "this process serves alone: it has no --replica-address")
        return found

    @router.get("/explain-route", responses={422: {}})
    async def explain_route(
        method: Annotated[str, Query(max_length=32)],
        url: Annotated[str, Query(max_length=8192)],
        header: Annotated[list[Header] | None, Query(max_length=100)] = None,
        gateway: Annotated[str | None, Query(max_length=512)] = None,
    ) -> list[dict[str, Any]]:
        try:
            return console.explain_route(method, url, header or (), gateway)
        except WeirError as error:
            raise HTTPException(422, str(error)) from error

    return router


def _switch(console: Console) -> APIRouter:
    router = APIRouter()

    @router.post("/freeze")
    async def freeze(request: Request) -> dict[str, str]:
        body = await _body(request, FreezeRequest)
        try:
            console.freeze(body.service, body.reason, body.by)
        except WeirError as error:
            raise HTTPException(409, str(error)) from error
        return {"frozen": body.service or "all"}

    @router.post("/resume")
    async def resume(request: Request) -> dict[str, Any]:
        body = await _body(request, ResumeRequest)
        try:
            held = console.resume(body.service)
        except WeirError as error:
            raise HTTPException(409, str(error)) from error
        return {"resumed": body.service or "all", "still_frozen": list(held)}

    return router


async def _body(request: Request, model: type[Body]) -> Body:
    """The JSON body, checked. Anything else than JSON is refused before it is read."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise HTTPException(422, wrong) from error
