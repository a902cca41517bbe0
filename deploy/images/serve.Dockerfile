# syntax=docker/dockerfile:1
# The control plane: no torch, no shell, no package manager, not root; it needs no file of its own to be writable.
#
#   docker build -f deploy/images/serve.Dockerfile -t weir .
#
# Give digests for both bases where you can: --build-arg BUILD_IMAGE=debian:bookworm-slim@sha256:...
# The release workflow does; a tag moves.
ARG BUILD_IMAGE=debian:bookworm-slim
ARG RUN_IMAGE=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# Debian's own Python, to the patch level the one that it will run on: some packages are chosen by that (redis wants
# async-timeout below 3.11.3). Debian keeps one version of each, so there is none to pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints.txt pyproject.toml setup.py README.md LICENSE ./
COPY protos ./protos
COPY controlplane ./controlplane
COPY policies ./policies
# Into a folder, not an environment: the interpreter of the run image is at another path. Bytecode for our code
# and for what serving imports alone (for all that is installed it is 80 MB), and nothing that is for
# tests, type checkers and compilers alone.
RUN python3 -m pip install --no-cache-dir --no-compile --constraint constraints.txt --target /opt/weir ".[kubernetes,redis]" \
    && find /opt/weir \( -type d -name tests -o -name "*.py[ix]" -o -name "*.pxd" \) -prune -exec rm -r {} + \
    && python3 -m compileall -q /opt/weir/controlplane \
    && PYTHONPATH=/opt/weir python3 -c "import controlplane.app, controlplane.cli.serve, controlplane.front.worker, controlplane.kubernetes.cluster, controlplane.limits.redis, controlplane.webhook, onnxruntime" \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/weir

FROM ${RUN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weir" \
      org.opencontainers.image.description="A control plane for Envoy that learns how to balance load" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/weir /opt/weir
COPY --from=build --chown=65532:65532 /var/lib/weir /var/lib/weir
# What is asked from outside the container is TLS (xDS) or only read (the probe address); the admin address stays on
# the loopback, where `kubectl port-forward` and `docker exec` reach it. HOME is for users that /etc/passwd does not know:
# the client of Kubernetes asks for it when it is imported.
ENV HOME=/var/lib/weir \
    PYTHONPATH=/opt/weir \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WEIR_STATE_DIR=/var/lib/weir \
    WEIR_PROBE_ADDRESS=0.0.0.0:18002 \
    WEIR_LOG_FORMAT=json
USER 65532:65532
EXPOSE 18000 18002
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/usr/bin/python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:18002/healthz', timeout=2)"]
ENTRYPOINT ["/usr/bin/python3", "-m", "controlplane.cli"]
CMD ["serve", "--config", "/etc/weir"]
