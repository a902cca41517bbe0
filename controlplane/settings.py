"""How `weir serve` runs: read once, frozen. Command line over environment over file over default.

Every field can be given as an option (`--xds-address`), in the environment (`WEIR_XDS_ADDRESS`)
and in the YAML file named by `--settings` or `WEIR_SETTINGS` (`xdsAddress` or `xds_address`).
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from controlplane.errors import ConfigurationError, StartupError

_USERINFO = re.compile(r"//\S*@")
"""Name and password of a URL."""


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`127.0.0.1:18000` or `[::1]:18000`. Raises `ConfigurationError`."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isdigit() or not host or int(port) > 65535:
            raise ConfigurationError(
                f"address {text!r}: want HOST:PORT, for example 127.0.0.1:18000 or [::1]:18000"
            )
        return cls(host, int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def require_safe(self, insecure: bool, what: str) -> None:
        """Plaintext without authentication is for loopback alone. Raises `StartupError`."""
        if not self.loopback and not insecure:
            raise StartupError(
                f"{what} {self}: an address that others can reach is not served in plaintext; "
                "listen on 127.0.0.1, give --tls-cert and --tls-key (xDS alone), or --insecure if "
                "the network itself is trusted"
            )

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServeSettings(BaseSettings):
    """Everything that `weir serve` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_",
        env_ignore_empty=True,  # `X: ${X:-}` in a compose file
        frozen=True,
        extra="forbid",
        populate_by_name=True,
    )

    config: Path | None = None
    """Folder with the YAML documents to serve; this, or `kubernetes`."""
    kubernetes: bool = False
    """Serve what the API of Kubernetes holds instead, and write statuses there."""
    kubeconfig: Path | None = None
    """How to reach it, as kubectl has it; none: as the pod that this runs in, else as kubectl."""
    kube_context: str = ""
    """The context of the kubeconfig; empty: its current one."""
    namespace: str = ""
    """Objects of this namespace alone; empty: of all."""
    lease_namespace: str = ""
    """Where the Lease of the replica that decides is; empty: the namespace of the pod."""
    kubernetes_wait_s: float = Field(default=10.0, ge=0.0, le=600.0)
    """How long a start waits for its API before what was declared before is served, if that was
    kept."""
    state_key: Path | None = None
    """Keys that what is declared is sealed with where it is kept, as base64, a line each; none:
    it is kept without Secrets."""
    replica_address: str = ""
    """Where other replicas are heard, and follow this one while it decides; empty: nowhere, and
    what one of them decides stays with it. With TLS, or of this machine alone."""
    replica_host: str = ""
    """The address that they reach it at; empty: that of `replica_address`, or `POD_IP` where that
    is every address."""
    replica_identity: str = ""
    """The DNS name that the certificate of a replica has, and no other certificate of the CA."""
    xds_address: str = "127.0.0.1:18000"
    """Where xDS, access logs and load reports are taken."""
    admin_address: str = "127.0.0.1:18001"
    """Where /healthz, /readyz, /metrics and /v1 are served."""
    probe_address: str = ""
    """Where /healthz, /readyz and /metrics are served to others than this machine, and nothing that
    changes anything; empty: nowhere."""
    webhook_address: str = ""
    """Where API servers ask whether an object is valid before they store it; empty: nowhere."""
    webhook_configuration: str = Field(default="weir", pattern=r"^[a-z0-9][-a-z0-9.]*$")
    """The ValidatingWebhookConfiguration that they ask by. The certificate is kept in the Secret of
    this name and `-webhook`, in the namespace of the Lease, unless there are files."""
    webhook_cert: Path | None = None
    """PEM certificate that this address is served with, of a CA that the configuration has;
    followed."""
    webhook_key: Path | None = None
    """PEM key of this certificate; followed."""
    state_dir: Path | None = None
    """Where the last good state and the kill switch are kept; default `.weir` in the folder, with
    `kubernetes` in the working directory."""
    push_stages: str = ""
    """Shares of a fleet's Envoys that a change of the documents goes to first, as `0.1,0.5`; the
    rest follows when they took it. Empty: all at once. Weights always go to all."""
    push_bake_s: float = Field(default=10.0, ge=0.0, le=3600.0)
    """How long each share is watched before the next."""
    envoy_patches: bool = False
    """Use EnvoyPatch documents. Whoever may write one may change anything of an Envoy."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve Envoys, on one port. 1: this process does."""
    insecure: bool = False
    """Serve plaintext on an address that others can reach."""
    tls_cert: Path | None = None
    """PEM certificate that the xDS address is served with, then its intermediates; followed."""
    tls_key: Path | None = None
    """PEM key of this certificate; followed."""
    tls_client_ca: Path | None = None
    """PEM CAs of which Envoys must have a certificate; followed."""
    xds_identity: Annotated[tuple[str, ...], NoDecode] = ()
    """Which node may be claimed with which name: templates such as
    `spiffe://example.org/ns/{namespace}/envoy/{node_id}`, with spaces between them in the
    environment."""
    xds_jwt_issuer: str = ""
    """The `iss` of the tokens that are taken."""
    xds_jwt_audience: str = ""
    """The `aud` of the tokens that are taken."""
    xds_jwt_key: Path | None = None
    """PEM public key or JWKS that they are verified with; followed."""
    xds_connection_age_s: float | None = Field(default=None, ge=1.0, le=2_000_000.0)
    """An Envoy's connection is renewed after this; default an hour with TLS, never without."""
    xds_streams_per_identity: int = Field(default=10_000, ge=1)
    """Streams that one name may have open, or one address where nobody proves a name."""
    source: Literal["envoy", "prometheus"] = "envoy"
    """Where numbers come from: access logs and load reports sent to us, or a Prometheus."""
    prometheus_url: str = "http://127.0.0.1:9090"
    """The Prometheus to ask when `source` is `prometheus`."""
    prometheus_metrics: Literal["weir", "envoy"] = "envoy"
    """Which metrics it holds: those of Weir's own /metrics, or Envoy's per-endpoint stats."""
    prometheus_window_s: float = Field(default=5.0, ge=1.0, le=300.0)
    """Rates are taken over this; at least three times its scrape interval."""
    load_report_interval_s: float = Field(default=1.0, ge=0.1, le=60.0)
    """How often an Envoy reports load."""
    rate_limit_redis_url: SecretStr | None = None
    """Redis that rate limits are counted in, as redis://HOST:6379/0 or rediss:// with TLS; none: in
    this process."""
    rate_limit_counters: int = Field(default=100_000, ge=1000, le=10_000_000)
    """Counters kept in this process, for rules and their clients; the oldest make room."""
    model_dir: Path | None = None
    """A released policy for `learned` other than the one that comes with Weir."""
    decision_log: Path | None = None
    """Folder for a log of what is decided and what comes of it, to learn from; of this process
    alone. None: no log."""
    decision_log_mb: int = Field(default=256, ge=16, le=1_000_000)
    """What the log takes of the disk at most; the oldest decisions make room."""
    otlp_endpoint: str = ""
    """host:port of an OTLP/gRPC collector for traces of a tick; empty: none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    log_format: Literal["console", "json"] = "console"
    """Lines for people or for machines."""

    def shown(self) -> dict[str, object]:
        """All of them as JSON has them, without what is secret: neither a `SecretStr` nor the name
        and password of a URL."""
        found: dict[str, object] = self.model_dump(mode="json")
        return {
            name: _USERINFO.sub("//", one) if isinstance(one, str) else one
            for name, one in found.items()
        }

    @property
    def state(self) -> Path:
        """The state folder that is in force."""
        return self.state_dir if self.state_dir is not None else (self.config or Path()) / ".weir"

    @property
    def stages(self) -> tuple[float, ...]:
        """The shares of `push_stages`. Raises `ConfigurationError`."""
        text = self.push_stages.strip()
        try:
            return tuple(float(part) for part in text.split(",")) if text else ()
        except ValueError:
            raise ConfigurationError(
                f"push stages {text!r}: want growing shares above 0 and below 1, as in 0.1,0.5"
            ) from None

    @property
    def xds(self) -> Address:
        """The xDS address, parsed."""
        return Address.parse(self.xds_address)

    @property
    def admin(self) -> Address:
        """The admin address, parsed."""
        return Address.parse(self.admin_address)

    @property
    def probe(self) -> Address | None:
        """The probe address, parsed; None: there is none."""
        return Address.parse(self.probe_address) if self.probe_address else None

    @property
    def replica(self) -> Address | None:
        """The address for other replicas, parsed; None: there is none."""
        return Address.parse(self.replica_address) if self.replica_address else None

    @property
    def replica_reached(self) -> str:
        """HOST:PORT at which other replicas reach this one. Raises `ConfigurationError`."""
        address = self.replica
        if address is None:
            return ""
        host = self.replica_host or address.host
        if not self.replica_host and address.host in ("0.0.0.0", "::"):  # noqa: S104
            host = os.environ.get("POD_IP", "")
        if not host:
            raise ConfigurationError(
                f"--replica-address {address} is every address of this machine: say which of them "
                "others reach it at, by --replica-host or POD_IP"
            )
        return str(Address(host, address.port))

    @property
    def webhook(self) -> Address | None:
        """The address of the admission webhook, parsed; None: there is none."""
        return Address.parse(self.webhook_address) if self.webhook_address else None

    @field_validator("xds_identity", mode="before")
    @classmethod
    def _separate(cls, given: object) -> object:
        """An environment variable is one text; a template holds no space."""
        return tuple(given.split()) if isinstance(given, str) else given

    def require_whole(self) -> None:
        """What belongs together is given together. Raises `ConfigurationError`."""
        if (self.config is None) != self.kubernetes:
            raise ConfigurationError(
                "documents come from one place: give --config DIR, or --kubernetes"
            )
        if not self.kubernetes and (self.kubeconfig or self.kube_context or self.namespace):
            raise ConfigurationError(
                "--kubeconfig, --kube-context and --namespace are for --kubernetes"
            )
        if self.state_key is not None and not self.kubernetes:
            raise ConfigurationError(
                "--state-key is for --kubernetes: what a folder declares is not kept"
            )
        self._require_whole_webhook()
        self._require_whole_replicas()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("TLS wants both: --tls-cert FILE and --tls-key FILE")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigurationError(
                "certificates of clients are checked over TLS alone: with --tls-client-ca give "
                "--tls-cert and --tls-key"
            )
        jwt = (self.xds_jwt_issuer, self.xds_jwt_audience, self.xds_jwt_key)
        if any(jwt) and not all(jwt):
            raise ConfigurationError(
                "tokens want all three: --xds-jwt-issuer, --xds-jwt-audience and --xds-jwt-key"
            )

    def _require_whole_webhook(self) -> None:
        if self.webhook_address and not self.kubernetes:
            raise ConfigurationError("--webhook-address is for --kubernetes")
        if (self.webhook_cert is None) != (self.webhook_key is None):
            raise ConfigurationError(
                "the webhook wants both: --webhook-cert FILE and --webhook-key FILE"
            )

    def _require_whole_replicas(self) -> None:
        address = self.replica
        if address is None:
            return
        if not self.kubernetes:
            raise ConfigurationError(
                "--replica-address is for --kubernetes: nothing else says who decides"
            )
        mutual = self.tls_cert is not None and self.tls_client_ca is not None
        if mutual and not self.replica_identity:
            raise ConfigurationError(
                "--replica-address wants --replica-identity NAME: a DNS name that the certificate "
                "of Weir has and no Envoy's; whoever has it is a replica"
            )
        if not mutual and not address.loopback:
            raise ConfigurationError(
                f"--replica-address {address}: replicas prove who they are; give --tls-cert, "
                "--tls-key and --tls-client-ca, or listen on 127.0.0.1"
            )
        _ = self.replica_reached

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then the environment, then the file."""
        named = os.environ.get("WEIR_SETTINGS")
        file = InitSettingsSource(settings_cls, _read(Path(named)) if named else {})
        return init_settings, env_settings, file


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"settings file {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"settings file {path}: want a mapping of settings to values")
    return {_snake(str(key)): value for key, value in content.items()}


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def load_settings(**options: object) -> ServeSettings:
    """Settings from all sources; options that are None were not given.

    Raises `ConfigurationError` that names the field and what it takes.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    try:
        settings = ServeSettings(**given)
        _ = settings.xds, settings.admin, settings.webhook  # they must parse
        settings.require_whole()
    except ValidationError as error:
        lines = [
            f"{(name := '.'.join(map(str, one['loc'])))}: {one['msg'].lower()} "
            f"(--{name.replace('_', '-')} or WEIR_{name.upper()})"
            for one in error.errors()
        ]
        raise ConfigurationError("settings: " + "; ".join(lines)) from error
    return settings
