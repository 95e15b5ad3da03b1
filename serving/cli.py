"""`resonance serve`: a Triton server on this machine, looked after until it is told to stop."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resonance.serving.decoder import Decoder

if TYPE_CHECKING:
    from resonance.serving.server import TritonServer


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
    grpc_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8001,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8002,
    drain_seconds: Annotated[
        float, typer.Option(min=1, help="How long requests in flight may take after SIGTERM.")
    ] = 10.0,
    log_file: Annotated[
        Path | None, typer.Option(help="Keep Triton's log here. [default: a file removed at exit]")
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Holds the ready line from the moment every model has answered until the stop."),
    ] = None,
) -> None:
    """Serve the models until SIGTERM or Ctrl-C; one line on stdout says when they are ready.

    Exit code 0: stopped when told to; 1: could not start, or Triton ended by itself; 2: wrong use.
    """
    import logging

    from resonance.serving.errors import ServingError, StartError
    from resonance.serving.server import ServerSettings, TritonServer

    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(message)s")  # on stderr
    server = TritonServer(
        ServerSettings(
            model_repository=model_repository,
            target=target.value,
            decoder=decoder,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            drain_s=drain_seconds,
            log_file=log_file,
        )
    )
    try:
        run(server, ready_file=ready_file)
    except ServingError as error:
        if isinstance(error, StartError) and error.log_tail:
            typer.echo(error.log_tail, err=True)
        typer.echo(f"resonance serve: {error}", err=True)
        raise typer.Exit(1) from None


def run(server: TritonServer, interval_s: float = 1.0, ready_file: Path | None = None) -> None:
    """Start `server`, print the ready line, look after it every `interval_s`, stop it on a signal.

    `ready_file` holds that line while the server takes requests: Triton's own readiness is true before
    its models were asked anything, and stays true while it is being stopped.

    Raises:
        ServingError: it could not be started, or ended by itself.
    """
    import signal
    import threading
    from types import FrameType

    stop, ready = threading.Event(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not ready.is_set() and not stop.is_set():
            stop.set()
            raise KeyboardInterrupt  # there is nothing in flight: give up starting at once
        stop.set()

    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # of a server that was killed
    earlier = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        ready.set()
        if ready_file is not None:
            ready_file.write_text(ready_line(server) + "\n")
        typer.echo(ready_line(server))
        while not stop.wait(interval_s):
            server.check()
    except KeyboardInterrupt:
        if not stop.is_set():
            raise
    finally:
        stop.set()  # from here on a signal changes nothing: the server is being stopped
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        server.stop()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def ready_line(server: TritonServer) -> str:
    """One line of ``key=value`` that programs can read: addresses and what is served."""
    space = server.space
    served = (
        f"space={space.name} fingerprint={space.fingerprint[:12]} trained={str(space.trained).lower()}"
        if space
        else "space=none"
    )
    return (
        f"ready grpc={server.grpc_address} http={server.http_address} "
        f"metrics={server.metrics_address} {served}"
    )
