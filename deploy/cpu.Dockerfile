# syntax=docker/dockerfile:1
# The server for the CPU with the models of a family inside: to try it, and where no GPU is; docs/deploy.md.
#   docker build -f deploy/cpu.Dockerfile -t resonance-cpu:0.1.0 .
ARG PYTHON_TAG=3.11-slim-bookworm

FROM python:${PYTHON_TAG} AS built
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY . .
# `source` tells what models are made from, as in the Dockerfile for GPUs.
RUN python -m venv /opt/resonance/venv \
 && /opt/resonance/venv/bin/pip install --no-cache-dir '.[serve]' \
 && find export space model_repository pyproject.toml -type f -print0 | LC_ALL=C sort -z \
      | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1 > /opt/resonance/source \
 && install -D --mode=0755 --target-directory=/opt/resonance/bin deploy/container/entrypoint.sh deploy/container/ready.py \
 && cp -R model_repository /opt/resonance/ \
 && chmod -R a+rX /opt/resonance/model_repository
ENV PATH=/opt/resonance/bin:/opt/resonance/venv/bin:$PATH \
    HOME=/tmp \
    RESONANCE_TARGET=cpu \
    RESONANCE_MODELS=/models

# torch is needed here alone: several GB that the image does not have.
FROM built AS models
ARG FAMILY=tiny
ENV RESONANCE_FAMILY=${FAMILY}
# the versions are pinned in pyproject.toml
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[export]' \
 && mkdir /models \
 && entrypoint.sh export

FROM python:${PYTHON_TAG}
ARG FAMILY=tiny
# libseccomp2: takes files and sockets from the processes that read uploads.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libseccomp2 \
 && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=1000 --group=1000 /spool
COPY --from=built /opt/resonance /opt/resonance
COPY --from=models /models /models
# NVIDIA_VISIBLE_DEVICES: the models' folder is named after the GPUs that are seen, and is of none.
ENV PATH=/opt/resonance/bin:/opt/resonance/venv/bin:$PATH \
    HOME=/tmp \
    NVIDIA_VISIBLE_DEVICES=void \
    RESONANCE_TARGET=cpu \
    RESONANCE_FAMILY=${FAMILY} \
    RESONANCE_MODELS=/models \
    RESONANCE_SPOOL=/spool \
    RESONANCE_READY_FILE=/tmp/resonance-ready
RUN python -c 'import pyseccomp'
USER 1000:1000
VOLUME ["/spool"]
# the gateway, its metrics, Triton's metrics; Triton itself is for this container alone
EXPOSE 8080 8081 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["/opt/resonance/bin/ready.py"]
ENTRYPOINT ["/opt/resonance/bin/entrypoint.sh"]
CMD ["resonance", "serve", "--gateway"]
