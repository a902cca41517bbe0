"""Code of your own on the way of a request: `lua`, `extProc` and `wasm`. The words are those of
Envoy Gateway's EnvoyExtensionPolicy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from controlplane.resources.filters import BackendObjectRef
from controlplane.resources.kinds import Duration, Fields, Flag, Name, first_twice

SCRIPT = "lua"
"""The entry of a ConfigMap that holds a script."""
MAX_SCRIPT = 64 * 1024
"""Characters of a script."""


class ScriptRef(Fields):
    """A ConfigMap that is meant, in the namespace of the policy."""

    group: Literal[""] = Field(default="", description="Kubernetes' own.")
    kind: Literal["ConfigMap"] = Field(default="ConfigMap", description="Always.")
    name: Name = Field(description="Name of the ConfigMap; the script is its entry `lua`.")


class Lua(Fields):
    """A script with `envoy_on_request(handle)`, `envoy_on_response(handle)`, or both."""

    type: Literal["Inline", "ValueRef"] = Field(description="Which of the two below is given.")
    inline: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SCRIPT)] | None = Field(
        default=None, description="The script. Never a secret: it can be read in Envoy's dump."
    )
    value_ref: ScriptRef | None = Field(default=None, description="Where the script stands.")

    @model_validator(mode="after")
    def _one_source(self) -> Lua:
        given = {"Inline": self.inline is not None, "ValueRef": self.value_ref is not None}
        if not given.pop(self.type) or any(given.values()):
            raise ValueError("type Inline has inline, type ValueRef has valueRef, and no other")
        return self


BodyMode = Literal["Streamed", "Buffered", "BufferedPartial"]


class Processing(Fields):
    """What the service is sent of a request, or of an answer."""

    body: BodyMode | None = Field(default=None, description="Not given: the headers alone.")


class ProcessingMode(Fields):
    """What the service is sent; a part that is not given is not sent."""

    request: Processing | None = Field(default=None, description="Of requests.")
    response: Processing | None = Field(default=None, description="Of answers.")


class ExtProc(Fields):
    """A gRPC service (`envoy.service.ext_proc.v3.ExternalProcessor`) that may change or answer
    requests, and change answers."""

    backend_refs: tuple[BackendObjectRef, ...] = Field(
        min_length=1,
        max_length=1,
        description="The Backend that serves it; it is spoken to in HTTP/2.",
    )
    message_timeout: Annotated[Duration, Field(ge=0.001, le=60)] = Field(
        default=1.0, description="For its answer to each part that it is sent."
    )
    fail_open: Flag = Field(
        default=False, description="Whether requests go on where it fails; else they get 500."
    )
    processing_mode: ProcessingMode = Field(
        default=ProcessingMode(request=Processing()), description="Default: headers of requests."
    )


class WasmFile(Fields):
    """A module on the machine of the Envoy."""

    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9_./-]{1,255}$")] = Field(
        description="Where it is. Envoy refuses the routes while it is not there."
    )


class WasmCode(Fields):
    """Where a module comes from."""

    type: Literal["File"] = Field(description="What is given below.")
    file: WasmFile


class Wasm(Fields):
    """A WebAssembly module with the proxy-wasm ABI."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")] = Field(
        description="Modules of one name and one code share a virtual machine."
    )
    root_id: Annotated[str, StringConstraints(max_length=253)] = Field(
        default="", alias="rootID", description="Which part of the module, if it has several."
    )
    code: WasmCode
    config: Annotated[str, StringConstraints(max_length=16 * 1024)] | None = Field(
        default=None, description="What the module is configured with, as text. Never a secret."
    )
    fail_open: Flag = Field(
        default=False, description="Whether requests go on where it fails; else they get 503."
    )


def wasm_once(modules: tuple[Wasm, ...]) -> tuple[Wasm, ...]:
    """Raises `ValueError` where a name is given twice: Envoy would run the last alone."""
    twice = first_twice([one.name for one in modules])
    if twice is not None:
        raise ValueError(f"module {twice!r} is there twice; give one of them another name")
    return modules
