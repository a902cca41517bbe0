"""An external processor (envoy.service.ext_proc.v3) that tests run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from tests.envoy.grpc_service import serving


@dataclass
class Inspector:
    """Adds `x-inspected` to requests and answers; a request with `x-bad` it answers itself.
    Bodies of requests it puts in capital letters."""

    port: int = 0
    paths: list[str] = field(default_factory=list)

    async def process(
        self,
        requests: AsyncIterator[ProcessingRequest],
        _: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[ProcessingResponse]:
        """One request of a client."""
        async for one in requests:
            if one.request_body is not None:
                upper = BodyMutation(body=one.request_body.body.upper())
                changed = BodyResponse(response=CommonResponse(body_mutation=upper))
                yield ProcessingResponse(request_body=changed)
                continue
            if one.request_headers is None:
                yield ProcessingResponse(response_headers=_added("answer"))
                continue
            assert one.request_headers.headers is not None
            headers = {
                each.key: each.raw_value.decode() for each in one.request_headers.headers.headers
            }
            self.paths.append(headers[":path"])
            if "x-bad" in headers:
                status = HttpStatus(code=StatusCode.Forbidden)
                answer = ImmediateResponse(status=status, body=b"inspected and refused\n")
                yield ProcessingResponse(immediate_response=answer)
            else:
                yield ProcessingResponse(request_headers=_added("request"))


def _added(value: str) -> HeadersResponse:
    header = HeaderValue(key="x-inspected", raw_value=value.encode())
    mutation = HeaderMutation(set_headers=[HeaderValueOption(header=header)])
    return HeadersResponse(response=CommonResponse(header_mutation=mutation))


@asynccontextmanager
async def inspecting() -> AsyncIterator[Inspector]:
    """Run one."""
    made = Inspector()
    handler = grpc.stream_stream_rpc_method_handler(made.process, ProcessingRequest.parse, bytes)
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    async with serving({f"{service}/Process": handler}) as made.port:
        yield made
