"""WebAssembly modules on the way of a request, as filters that routes bring along."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import AsyncDataSource, DataSource
from envoy_data_plane.envoy.extensions.filters.http.wasm.v3 import Wasm
from envoy_data_plane.envoy.extensions.wasm.v3 import (
    FailurePolicy,
    PluginConfig,
    VmConfig,
)
from envoy_data_plane.google.protobuf import StringValue

from controlplane.resources import extensions
from controlplane.translate.types import extension
from controlplane.translate.wire import packed, wire


def chained(one: extensions.Wasm) -> bytes:
    """The filter."""
    code = wire(AsyncDataSource, local=wire(DataSource, filename=one.code.file.path))
    vm = wire(VmConfig, runtime="envoy.wasm.runtime.v8", code=code, vm_id=one.name)
    policy = FailurePolicy.FAIL_OPEN if one.fail_open else FailurePolicy.FAIL_CLOSED
    plugin = wire(
        PluginConfig, name=one.name, root_id=one.root_id, vm_config=vm, failure_policy=policy
    )
    if one.config is not None:
        text = wire(StringValue, value=one.config)
        plugin += wire(PluginConfig, configuration=packed(StringValue, text))
    return extension(f"envoy.filters.http.wasm.{one.name}", packed(Wasm, wire(Wasm, config=plugin)))
