# One image for every service: `sweeps`, MLflow's server and optuna-dashboard.
#   docker build -t sweeplane .
# CUDA comes with torch's wheel from PyPI. A base image that has torch already keeps its own.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# https://download.pytorch.org/whl/cpu gives torch without CUDA: the same version, 3 GB less.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
WORKDIR /src
RUN python3 -m venv --system-site-packages /opt/venv
# The packages first, in a layer of their own: they change less often than the code.
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN pip install -c constraints.txt '.[postgres,dashboard]' && pip uninstall --yes sweeplane
COPY optimizers optimizers
COPY studies studies
COPY sweeps sweeps
RUN pip install --no-deps .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Sweeplane" org.opencontainers.image.licenses="MIT"
# Lanes are compiled by inductor, which calls a C++ compiler; a user that is the same everywhere owns
# the volumes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 sweeps \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin sweeps \
    && install -d -o sweeps -g sweeps /sweeps /checkpoints /artifacts
COPY --from=builder /opt/venv /opt/venv
# /tmp is the one folder that can be written where the root is read-only.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /sweeps
USER 10001:10001
STOPSIGNAL SIGTERM
# A worker serves no port: its heartbeat is in the study DB. What listens has its healthcheck in
# docker-compose.yml.
HEALTHCHECK NONE
ENTRYPOINT ["sweeps"]
CMD ["--help"]
