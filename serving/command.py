"""How a server is started: its settings, and the command line that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resonance.serving import admin, binary
from resonance.serving.decoder import Decoder
from resonance.serving.launch import SECRET_MARK

Target = Literal["cpu", "gpu", "aoti"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server is started.

    Attributes:
        model_repository: the folder of models.
        target: which config of each model is used.
        decoder: what keyframes are decoded with; None takes DALI for ``gpu`` and PyAV else.
        host: the address that the ports are bound to.
        metrics_host: that of the metrics; None: `host`.
        grpc_port, http_port, metrics_port: 0 picks a free one.
        http: whether HTTP is served beside gRPC; metrics have a port of their own anyway.
        start_timeout_s: from the start of the process until every model has answered.
        probe_timeout_s: for one made-up inference.
        drain_s: how long requests in flight may take after `stop`. An idle HTTP connection that a client
            keeps open makes Triton wait this long (the metrics port has the same habit); gRPC's do not.
        log_file: where Triton's log is kept; by default it is removed when the server stops.
        extra: further flags for `tritonserver`, such as TLS.
    """

    model_repository: Path
    target: Target = "cpu"
    decoder: Decoder | None = None
    host: str = "127.0.0.1"
    metrics_host: str | None = None
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    http: bool = True
    start_timeout_s: float = 180.0
    probe_timeout_s: float = 30.0
    drain_s: float = 10.0
    log_file: Path | None = None
    extra: tuple[str, ...] = ()


def _http(host: str) -> str:
    """An address as Triton's HTTP servers (libevhtp) take it; gRPC's puts IPv6 in brackets."""
    return f"ipv6:{host}" if ":" in host else host


def triton_command(
    settings: ServerSettings,
    triton: binary.Triton,
    *,
    backends: Path,
    ports: Mapping[str, int],
    prefix: str,
    more: Sequence[str],
) -> list[str]:
    """The command line of `tritonserver`, with `launch.SECRET_MARK` where the key of administration belongs.

    Args:
        ports: by purpose, ``grpc``, ``http`` and ``metrics``.
        prefix: of the names of its shared memory regions.
        more: flags that name the models and what their plans need.
    """
    flags = {
        "model-repository": settings.model_repository.resolve(),
        "backend-directory": backends,
        "cache-directory": triton.caches,
        "model-config-name": settings.target,
        # Explicit control lets a model be left out, and be loaded again when its process died.
        "model-control-mode": "explicit",
        # A bad model is named with its reason by the repository index; exiting would leave only a log.
        "exit-on-error": "false",
        "allow-http": str(settings.http).lower(),
        "http-address": _http(settings.host),
        "http-port": ports["http"],
        "grpc-address": f"[{settings.host}]" if ":" in settings.host else settings.host,
        "grpc-port": ports["grpc"],
        "metrics-address": _http(settings.metrics_host or settings.host),
        "metrics-port": ports["metrics"],
        # Quantiles of each model's latencies beside their sums, which Triton leaves out by default.
        "metrics-config": "summary_latencies=true",
        "exit-timeout-secs": max(1, round(settings.drain_s)),
        # Clients that ping every few seconds would be sent away (GOAWAY) otherwise.
        "grpc-http2-min-recv-ping-interval-without-data": 2000,
        "grpc-http2-max-ping-strikes": 0,
        "backend-config": f"python,shm-region-prefix-name={prefix}",
    }
    written = [f"--{name}={value}" for name, value in flags.items()]
    # Configs are complete; completing them would start one more process a model, only to ask it.
    written += ["--disable-auto-complete-config", *more, *admin.flags(SECRET_MARK)]
    return [str(triton.binary), *written, *settings.extra]
