"""`weir serve`: the control plane."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from controlplane.settings import load_settings


def serve(
    config: Annotated[
        Path | None, typer.Option(help="Folder of YAML documents; watched and applied.")
    ] = None,
    kubernetes: Annotated[
        bool | None,
        typer.Option("--kubernetes", help="Serve what the API of Kubernetes holds instead."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="How to reach it. [as the pod, else as kubectl]")
    ] = None,
    kube_context: Annotated[str | None, typer.Option(help="A context of the kubeconfig.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of this namespace alone. [all]")
    ] = None,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Where the Lease of who decides is. [that of the pod]")
    ] = None,
    kubernetes_wait_s: Annotated[
        float | None,
        typer.Option(help="A start waits so long for it; then what was kept is served. [10]"),
    ] = None,
    replica_address: Annotated[
        str | None, typer.Option(help="Other replicas follow this one there. [nowhere]")
    ] = None,
    replica_host: Annotated[
        str | None, typer.Option(help="Where they reach it. [that of the address, or POD_IP]")
    ] = None,
    replica_identity: Annotated[
        str | None, typer.Option(help="DNS name in the certificate of a replica.")
    ] = None,
    xds_address: Annotated[
        str | None, typer.Option(help="xDS, access logs and load reports. [127.0.0.1:18000]")
    ] = None,
    admin_address: Annotated[
        str | None, typer.Option(help="Health, metrics, /v1. [127.0.0.1:18001]")
    ] = None,
    probe_address: Annotated[
        str | None, typer.Option(help="Health and metrics alone, for probes and scrapes. [none]")
    ] = None,
    webhook_address: Annotated[
        str | None,
        typer.Option(help="Admission webhook: invalid objects are refused when applied. [none]"),
    ] = None,
    webhook_configuration: Annotated[
        str | None, typer.Option(help="Its ValidatingWebhookConfiguration. [weir]")
    ] = None,
    webhook_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate of it; followed. [its own, renewed]")
    ] = None,
    webhook_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Last good state, kill switch. [.weir in the folder]")
    ] = None,
    state_key: Annotated[
        Path | None,
        typer.Option(help="Seals what is kept of Kubernetes; without it no Secret is kept."),
    ] = None,
    push_stages: Annotated[
        str | None,
        typer.Option(help="Shares of a fleet that changes go to first, as 0.1,0.5. [all at once]"),
    ] = None,
    push_bake_s: Annotated[
        float | None, typer.Option(help="How long each of these is watched. [10]")
    ] = None,
    envoy_patches: Annotated[
        bool | None,
        typer.Option("--envoy-patches", help="Use EnvoyPatch documents, which can break all."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve Envoys, on one port. [1]")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Plaintext where others can reach it.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate of the xDS address; followed.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM CAs; Envoys must have a certificate of them.")
    ] = None,
    xds_identity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Name that entitles to be a node, as spiffe://example.org/{node_id}; repeatable.",
        ),
    ] = None,
    xds_jwt_issuer: Annotated[str | None, typer.Option(help="`iss` of Envoys' tokens.")] = None,
    xds_jwt_audience: Annotated[str | None, typer.Option(help="`aud` of Envoys' tokens.")] = None,
    xds_jwt_key: Annotated[
        Path | None, typer.Option(help="PEM public key or JWKS of the tokens; followed.")
    ] = None,
    xds_connection_age_s: Annotated[
        float | None, typer.Option(help="Renew connections after this. [3600 with TLS]")
    ] = None,
    xds_streams_per_identity: Annotated[
        int | None, typer.Option(help="Streams that one identity may have open. [10000]")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where numbers come from: envoy or prometheus. [envoy]")
    ] = None,
    prometheus_url: Annotated[
        str | None, typer.Option(help="The Prometheus to ask. [http://127.0.0.1:9090]")
    ] = None,
    prometheus_metrics: Annotated[
        str | None, typer.Option(help="What it holds: `weir` metrics or `envoy` stats. [envoy]")
    ] = None,
    prometheus_window_s: Annotated[
        float | None, typer.Option(help="Rates over this; three scrapes or more. [5]")
    ] = None,
    load_report_interval_s: Annotated[
        float | None, typer.Option(help="Seconds between an Envoy's load reports. [1]")
    ] = None,
    rate_limit_redis_url: Annotated[
        str | None,
        typer.Option(
            help="Redis that counts for rate limits, as redis://HOST:6379/0; better in the "
            "environment where it holds a password. [in this process]"
        ),
    ] = None,
    rate_limit_counters: Annotated[
        int | None, typer.Option(help="Counters kept in this process. [100000]")
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option(help="Another released policy for `learned`.")
    ] = None,
    decision_log: Annotated[
        Path | None, typer.Option(help="Folder for a log of decisions to learn from. [none]")
    ] = None,
    decision_log_mb: Annotated[
        int | None, typer.Option(help="Megabytes of it; the oldest make room. [256]")
    ] = None,
    otlp_endpoint: Annotated[
        str | None, typer.Option(help="host:port of an OTLP collector for traces. [none]")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. [info]")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json. [console]")] = None,
) -> None:
    """Serve xDS to Envoys from a folder of YAML or from Kubernetes, and balance them.

    Every option can also be given as WEIR_<OPTION> in the environment, or in the YAML file named
    by WEIR_SETTINGS. Ends by SIGTERM or SIGINT; Envoys serve on with what they have.
    """
    given = dict(locals())
    # The first process of a container is ended by no signal that it has no handler for, and a start
    # takes seconds: nothing is held yet that would have to be let go. `app` has its own later.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    given["xds_identity"] = given["xds_identity"] or None  # an option not given is an empty list
    settings = load_settings(**given)
    gc.disable()  # what is imported stays: looking through it for garbage only delays the start
    from controlplane.app import run
    from controlplane.telemetry.logs import configure_logging

    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # a push to a thousand Envoys makes more than the default 700
    gc.enable()
    configure_logging(settings.log_level, settings.log_format)
    if settings.envoy_patches:
        from controlplane.inspection.patching import patched  # all of Envoy's API

        run(settings, patched)
    else:
        run(settings)
