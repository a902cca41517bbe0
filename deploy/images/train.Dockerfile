# syntax=docker/dockerfile:1
# Training, evaluation and the league: torch and Stable-Baselines3, without a GPU needed and with one used.
#
#   docker build -f deploy/images/train.Dockerfile -t weir-train .
#   docker run -v "$PWD/out:/out" weir-train train residual-ppo --to /out/release
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Read by pip, where given: https://download.pytorch.org/whl/cpu has builds of torch without gigabytes for GPUs.
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /src
COPY constraints.txt pyproject.toml setup.py README.md LICENSE ./
COPY protos ./protos
COPY controlplane ./controlplane
COPY policies ./policies
RUN python3 -m pip install --no-cache-dir --constraint constraints.txt --target /opt/weir ".[train]" \
    && install -d -o 65532 -g 65532 /out

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Weir, training" \
      org.opencontainers.image.description="Trains and evaluates the policies of Weir" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/weir /opt/weir
COPY --from=build --chown=65532:65532 /out /out
# Numba and matplotlib keep what they compiled and found in a cache.
ENV PYTHONPATH=/opt/weir \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /out
USER 65532:65532
HEALTHCHECK NONE
ENTRYPOINT ["python3", "-m", "controlplane.cli"]
CMD ["train", "--help"]
