"""The ASGI application of the webhook: bounds on size, time and number around `review`.

It is asked while somebody waits for `kubectl apply`, and it shares a process with the xDS server:
reviews are read and judged on threads of their own, a few at a time, and one that would come too
late is not answered at all. The API server then goes by its `failurePolicy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import structlog
from prometheus_client import CollectorRegistry, Counter

from controlplane.errors import ReviewError
from controlplane.kubernetes.webhook.review import judge, parse, response

logger = structlog.get_logger(__name__)

PATH = "/validate"
MAX_BYTES = 7 * 1024 * 1024
"""Of a review, which holds an object of up to 3 MB as it was and as it is to be; the bound of
controller-runtime."""
DEADLINE_S = 2.5
"""Less than the chart's `timeoutSeconds`."""
AT_ONCE = 8
"""Reviews that are held in memory; the next ones wait outside."""
THREADS = 2

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class WebhookApp:
    """Answers reviews. Keeps nothing and changes nothing, so a dry run is as any other."""

    def __init__(
        self,
        policies: Collection[str],
        registry: CollectorRegistry,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`policies`: the names that a BalancingPolicy may give."""
        self._policies = policies
        self._deadline_s = deadline_s
        self._room = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._reviews = Counter(
            "weir_webhook_reviews",
            "Reviews of the admission webhook, by answer: allowed, refused, unreadable, late.",
            ["answer"],
            registry=registry,
        )

    def close(self) -> None:
        """Let the threads go; what they are at comes to nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            return
        code, body = await self._answered(scope, receive)
        headers = [
            (b"content-type", b"application/json" if code == 200 else b"text/plain"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answered(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        if scope["path"] != PATH:
            return 404, f"ask {PATH}\n".encode()
        if scope["method"] != "POST":
            return 405, b"want POST\n"
        try:
            async with asyncio.timeout(self._deadline_s), self._room:
                body = await _read(receive)
                if body is None:
                    return 413, f"larger than {MAX_BYTES} bytes\n".encode()
                loop = asyncio.get_running_loop()
                refused, answer = await loop.run_in_executor(self._threads, self._review, body)
        except TimeoutError:
            self._reviews.labels("late").inc()
            return 503, f"no answer within {self._deadline_s:g} s\n".encode()
        except ReviewError as error:
            self._reviews.labels("unreadable").inc()
            return 400, f"{error}\n".encode()
        self._reviews.labels("refused" if refused else "allowed").inc()
        return 200, answer

    def _review(self, body: bytes) -> tuple[bool, bytes]:
        question = parse(body)
        answer = judge(question, self._policies)
        if answer.refused:
            logger.info("not admitted", object=str(question.key), why=answer.faults[0])
        return answer.refused, response(question, answer)


async def _read(receive: Receive) -> bytes | None:
    """The body; None where it is too large. Raises `ReviewError` where its end does not come."""
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ReviewError("the body has no end")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)
