"""`resonance serve`: a Triton server on this machine, looked after until it is told to stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.serving.decoder import Decoder
from resonance.serving.gateway.log_format import LogFormat

if TYPE_CHECKING:
    from resonance.serving.server import TritonServer

LOOPBACK = "127.0.0.1"
GRPC_PORT = 8001


class TargetChoice(StrEnum):
    """Which config of each model is served."""

    CPU = "cpu"
    GPU = "gpu"
    AOTI = "aoti"


def serve(
    target: Annotated[
        TargetChoice,
        typer.Option(
            help="cpu: ONNX; gpu: TensorRT plans; aoti: PyTorch alone, on the GPU where there is one."
        ),
    ] = TargetChoice.CPU,
    decoder: Annotated[
        Decoder | None,
        typer.Option(
            help="pyav: keyframes are decoded on the CPU; dali: on NVDEC, PyAV for what it does not know. "
            "[default: dali for --target gpu, else pyav]",
            show_default=False,
        ),
    ] = None,
    model_repository: Annotated[
        Path, typer.Option(help="The folder of models, filled by `make export`.")
    ] = Path("model_repository"),
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every interface, without any login.")
    ] = "127.0.0.1",
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 picks a free one; so does the default with --gateway.")
    ] = GRPC_PORT,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    metrics_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Triton's; the gateway has its own, --metrics-port after --. 0 picks a free one.",
        ),
    ] = 8002,
    metrics_host: Annotated[
        str | None,
        typer.Option(
            help="Address of the metrics, the gateway's too. [default: --host; loopback with --gateway]",
            show_default=False,
        ),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=1, help="How long requests in flight may take after SIGTERM.")
    ] = 10.0,
    start_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds until every model has to have answered for the first time.")
    ] = 180.0,
    log_file: Annotated[
        Path | None, typer.Option(help="Keep Triton's log here. [default: a file removed at exit]")
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Holds the ready line, and a line a model, while every model answers."),
    ] = None,
    probe_interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between looks at each model: one made-up inference.")
    ] = 5.0,
    probe_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="Seconds within which a model has to answer that or anything else; two misses and it is "
            "loaded anew.",
        ),
    ] = 10.0,
    triton_otlp_url: Annotated[
        str | None,
        typer.Option(
            help="Where Triton sends its part of the callers' traces, over OTLP/HTTP, such as "
            "http://collector:4318/v1/traces. The gateway has --otlp-endpoint. [default: nowhere]"
        ),
    ] = None,
    gateway: Annotated[
        bool,
        typer.Option("--gateway", help="Serve the typed API; Triton then listens on loopback, gRPC alone."),
    ] = False,
    gateway_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    gateway_options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- GATEWAY OPTIONS]", help="See `resonance gateway --help`."),
    ] = None,
) -> None:
    """Serve the models until SIGTERM or Ctrl-C; one line on stdout says when they are ready.

    A model that died or hangs is loaded anew, a Triton or gateway that died is started again on its port.

    Exit code 0: stopped when told to; 1: could not start, or ended too often; 2: wrong use.
    """
    import asyncio
    import logging

    from resonance.serving.errors import ServingError, StartError
    from resonance.serving.gateway.tracing import triton_trace_flags
    from resonance.serving.ports import choose_ports
    from resonance.serving.server import ServerSettings, TritonServer
    from resonance.serving.supervisor import Supervisor, SupervisorSettings
    from resonance.serving.supervisor_gateway import GatewayProcess

    if gateway_options and not gateway:
        raise typer.BadParameter(f"{gateway_options[0]!r} came; options after -- are for --gateway")
    if gateway:  # its lines stand between ours
        from resonance.serving.gateway.logs import configure_logs

        configure_logs(log_format_of(gateway_options or []))
    else:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"
        )  # on stderr
    server = TritonServer(
        ServerSettings(
            model_repository=model_repository,
            target=target.value,
            decoder=decoder,
            host=LOOPBACK if gateway else host,
            metrics_host=metrics_host,
            grpc_port=0 if gateway and grpc_port == GRPC_PORT else grpc_port,
            http_port=0 if gateway else http_port,
            http=not gateway,
            metrics_port=metrics_port,
            start_timeout_s=start_timeout,
            drain_s=drain_seconds,
            log_file=log_file,
            extra=triton_trace_flags(triton_otlp_url) if triton_otlp_url else (),
        )
    )

    async def run() -> None:
        front = None
        if gateway:
            port = choose_ports(host, {"gateway": gateway_port})["gateway"]

            # The server's ports are chosen when it starts, the gateway's command is made then.
            def command() -> list[str]:
                return gateway_command(server, host, port, gateway_options or [])

            front = GatewayProcess(command)
        await Supervisor(
            server,
            SupervisorSettings(probe_interval_s=probe_interval, probe_timeout_s=probe_timeout),
            gateway=front,
            announce=typer.echo,
            ready_file=ready_file,
        ).run()

    try:
        asyncio.run(run())
    except ServingError as error:
        if isinstance(error, StartError) and error.log_tail:
            typer.echo(error.log_tail, err=True)
        typer.echo(f"resonance serve: {error}", err=True)
        raise typer.Exit(1) from None


def log_format_of(gateway_options: Sequence[str]) -> LogFormat:
    """How the lines of a gateway with these options look; the default where it will refuse them."""
    words = [word for option in gateway_options for word in option.split("=", 1)]
    given = [after for word, after in pairwise(words) if word == "--log-format"]
    return next((known for known in LogFormat if [known.value] == given[-1:]), LogFormat.JSON)


def gateway_command(server: TritonServer, host: str, port: int, options: list[str]) -> list[str]:
    """What starts the gateway before `server`, once that is started; `options` are the last word."""
    own = {
        "triton": server.grpc_address,
        "host": host,
        "port": port,
        "metrics-host": server.settings.metrics_host or LOOPBACK,
        "drain-seconds": server.settings.drain_s,
    }
    flags = [f"--{name}={value}" for name, value in own.items()]
    return [sys.executable, "-m", "resonance.serving.gateway", *flags, *options]
