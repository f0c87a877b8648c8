# syntax=docker/dockerfile:1
# The router inside NeMo Agent Toolkit, with the embedded encoder. Build and run it with compose.yaml.
# Only the build needs torch. Where it would fetch gigabytes of CUDA packages, name the index that has the CPU build:
#   docker build --build-arg PIP_INDEX_ARGS="--extra-index-url ADDRESS" .
FROM python:3.11-slim-bookworm AS base
ARG PIP_INDEX_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 AUTO_ROUTER_CACHE=/opt/cache
RUN python -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"
WORKDIR /src
COPY constraints-nat.txt ./

# The picture encoder is converted once, here: what runs needs no torch, and can write nowhere but to /tmp.
FROM base AS convert
ARG PIP_INDEX_ARGS=""
# A layer of its own: torch changes seldom.
RUN pip install $PIP_INDEX_ARGS -c constraints-nat.txt torch
COPY pyproject.toml README.md LICENSE *.py ./
COPY auto_router ./auto_router
RUN pip install $PIP_INDEX_ARGS -c constraints-nat.txt ".[images]" \
  && python -c "from auto_router.encode.local import onnx_file; onnx_file()"

FROM base AS build
ARG PIP_INDEX_ARGS=""
COPY pyproject.toml README.md LICENSE *.py ./
COPY auto_router ./auto_router
RUN pip install $PIP_INDEX_ARGS -c constraints-nat.txt ".[nat,nvclip]"

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 router && useradd --uid 10001 --gid router --no-create-home --shell /usr/sbin/nologin router
COPY --from=build /opt/venv /opt/venv
COPY --from=convert /opt/cache /opt/cache
COPY configs /app/configs
WORKDIR /app
ENV PATH="/opt/venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 HOME=/tmp AUTO_ROUTER_CACHE=/opt/cache NAT_TELEMETRY_ENABLED=0 ORT_DISABLE_TELEMETRY=1
USER 10001:10001
EXPOSE 8000
# 200 only while the artifact is loaded and the encoder answers; urlopen raises for 503.
HEALTHCHECK --interval=15s --timeout=6s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
# All addresses of the container; compose.yaml publishes the port on loopback.
CMD ["nat", "serve", "--config_file", "configs/config.yml", "--host", "0.0.0.0", "--port", "8000"]
