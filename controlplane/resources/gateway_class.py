"""`GatewayClass`: whose Gateways are whose."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from controlplane.resources.kinds import Document, Fields, GatewayApiVersion, Name, Namespace

CONTROLLER = "weir.dev/gateway-controller"
"""The name that we go by."""


class ParametersRef(Fields):
    """More about the class."""

    group: str = Field(max_length=253, description="API group.")
    kind: str = Field(max_length=63, description="Kind.")
    name: Name = Field(description="Name.")
    namespace: Namespace | None = Field(default=None, description="Namespace.")


class GatewayClassSpec(Fields):
    """Who serves the class."""

    controller_name: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9/._~%!$&'()*+,;=:-]+$")
    ] = Field(max_length=253, description=f"`{CONTROLLER}` is Weir.")
    description: str = Field(default="", max_length=64, description="For people.")
    parameters_ref: ParametersRef | None = Field(default=None, description="Not looked at.")


class GatewayClass(Document):
    """Whose Gateways are whose."""

    about: ClassVar[str] = (
        "Has no namespace. Gateways of a class that is declared with the name of another "
        "controller are not served, nor is anything said of their routes; those of a class that "
        "is not declared are."
    )
    api_version: GatewayApiVersion
    kind: Literal["GatewayClass"]
    spec: GatewayClassSpec

    @property
    def ours(self) -> bool:
        """Whether we serve its Gateways."""
        return self.spec.controller_name == CONTROLLER
