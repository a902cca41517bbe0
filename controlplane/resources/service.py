"""`Service`, `EndpointSlice` and `Node`, as Kubernetes writes them: who serves, where, on what.

Of all that they hold what is here is read; the rest is taken and not looked at. People do not write
slices: Kubernetes does, so they are not refused for a field that a later version of it has.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from controlplane.resources.kinds import CoreApiVersion, Document, Port

SERVICE_OF = "kubernetes.io/service-name"
"""The label by which a slice says whose endpoints it holds."""
FRONT_OF = "gateway.networking.k8s.io/gateway-name"
"""The label by which a Service says before the Envoys of which Gateway of its namespace it stands
(GEP-1762)."""
MAX_IN_SLICE = 1000
"""As Kubernetes has it."""


class _Written(BaseModel):
    """A part that Kubernetes writes."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class ServicePort(_Written):
    """A port that clients use."""

    name: str = Field(default="", description="Slices say where it leads by this name.")
    port: Port = Field(description="What a backendRef names.")
    protocol: str = Field(default="TCP", description="`TCP` or `UDP`; others are not served.")
    app_protocol: str = Field(
        default="", description="`kubernetes.io/h2c`, `kubernetes.io/ws`: as in a Backend."
    )


class Ingress(_Written):
    """A point of a load balancer."""

    ip: str = Field(default="", description="Its address,")
    hostname: str = Field(default="", description="or its name.")


class LoadBalancerStatus(_Written):
    """Of the load balancer before a Service."""

    ingress: tuple[Ingress, ...] = Field(default=(), max_length=100, description="Its points.")


class ServiceStatus(_Written):
    """What Kubernetes has made of it."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class ServiceSpec(_Written):
    """What is served."""

    type: str = Field(
        default="ClusterIP", description="Looked at in a Service that stands before a Gateway,"
    )
    cluster_ips: tuple[str, ...] = Field(
        default=(), alias="clusterIPs", max_length=2, description="as its addresses are,"
    )
    external_ips: tuple[str, ...] = Field(
        default=(), alias="externalIPs", max_length=100, description="and these."
    )

    ports: tuple[ServicePort, ...] = Field(default=(), max_length=1000, description="Its ports.")
    ip_families: tuple[str, ...] = Field(
        default=(), max_length=2, description="Endpoints of the first are used."
    )


class Service(Document):
    """Endpoints that Kubernetes keeps, under one name."""

    about: ClassVar[str] = (
        "As Kubernetes has it. A backendRef of kind `Service` with a `port`, and a policy for it, "
        "make it what a Backend `namespace/name:port` would be, with the endpoints of its "
        "EndpointSlices. A Service that nothing refers to is not served."
    )
    api_version: CoreApiVersion
    kind: Literal["Service"]
    spec: ServiceSpec = ServiceSpec()
    status: Annotated[
        ServiceStatus, Field(description="The addresses of a load balancer; see `type`.")
    ] = ServiceStatus()

    @property
    def front_of(self) -> str | None:
        """The Gateway before whose Envoys it stands, `namespace/name`."""
        name = self.metadata.labels.get(FRONT_OF)
        return f"{self.metadata.namespace}/{name}" if name else None

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        """Where clients reach it, (`IPAddress` or `Hostname`, value): from outside where it can be,
        else within the cluster. None yet of a load balancer that is being made."""
        ingress = self.status.load_balancer.ingress
        outside = [
            ("IPAddress", one.ip) if one.ip else ("Hostname", one.hostname) for one in ingress
        ]
        outside += [("IPAddress", ip) for ip in self.spec.external_ips]
        if not outside and self.spec.type != "LoadBalancer":
            outside = [("IPAddress", ip) for ip in self.spec.cluster_ips if ip != "None"]
        return tuple(one for one in outside if one[1])


class EndpointConditions(_Written):
    """Whether an endpoint takes requests. Where nothing is said of `ready` it is."""

    ready: bool | None = Field(default=None, description="`false`: it gets no new requests.")
    serving: bool | None = Field(
        default=None, description="The same, whether it is ending or not. Not given: as `ready`."
    )
    terminating: bool | None = Field(default=None, description="It is ending.")

    @property
    def takes(self) -> bool:
        """Whether it gets requests."""
        return self.ready is not False

    @property
    def drains(self) -> bool:
        """Whether it serves what it has and gets no more: it ends."""
        serving = self.takes if self.serving is None else self.serving
        return not self.takes and serving and bool(self.terminating)


class SliceEndpoint(_Written):
    """One endpoint."""

    addresses: tuple[str, ...] = Field(max_length=100, description="The first is used.")
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = Field(default="", description="The Node that it runs on, see there.")
    zone: str = Field(default="", description="Where it is.")


class SlicePort(_Written):
    """Where a port of the Service leads."""

    name: str = Field(default="", description="The name that the Service gives it.")
    port: Port | None = Field(default=None, description="Of the endpoints; not given: none.")
    protocol: str = Field(default="TCP", description="As in the Service.")


class EndpointSlice(Document):
    """Some of the endpoints of a Service."""

    about: ClassVar[str] = (
        "As Kubernetes writes it; the label `kubernetes.io/service-name` says whose endpoints "
        "these are. One that is not ready gets no requests; while it ends and still serves it "
        "keeps its sessions, and gets requests where no other endpoint is ready."
    )
    api_version: Literal["discovery.k8s.io/v1"]
    kind: Literal["EndpointSlice"]
    address_type: str = Field(
        default="IPv4", description="`IPv4` or `IPv6`; slices of names are not used."
    )
    endpoints: tuple[SliceEndpoint, ...] = Field(
        default=(), max_length=MAX_IN_SLICE, description="The endpoints."
    )
    ports: tuple[SlicePort, ...] = Field(default=(), max_length=100, description="Their ports.")

    @property
    def service(self) -> str:
        """`namespace/name` of the Service."""
        return f"{self.metadata.namespace}/{self.metadata.labels.get(SERVICE_OF, '')}"


class NodeSpec(_Written):
    """Nothing of it is looked at."""


class Node(Document):
    """A machine, for its labels."""

    about: ClassVar[str] = (
        "As Kubernetes has it, read for its labels: `weir.dev/capacity` and `weir.dev/class` (else "
        "`node.kubernetes.io/instance-type`) are those of the endpoints that run there, and "
        "`topology.kubernetes.io/region` and `zone` say where they are. It stands in no namespace "
        "itself."
    )
    api_version: CoreApiVersion
    kind: Literal["Node"]
    spec: Annotated[NodeSpec, Field(description="Not looked at.")] = NodeSpec()
