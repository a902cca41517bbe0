"""grpc.reflection.v1alpha on the xDS address: which services there are.

Envoy's services are listed by name and not described: we have their messages in packages of our
own, with the fields that we use, and handing those out as Envoy's would be wrong. Only the health
service and reflection itself can be described.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

_Servicer: Any = reflection.aio.ReflectionServicer  # type: ignore[attr-defined]
SERVICE = "grpc.reflection.v1alpha.ServerReflection"


def reflection_handler(services: Iterable[str]) -> grpc.GenericRpcHandler[bytes, bytes]:
    """Lists these services and itself."""
    pool = DescriptorPool()
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    servicer = _Servicer([*services, SERVICE], pool=pool)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"ServerReflectionInfo": method})
