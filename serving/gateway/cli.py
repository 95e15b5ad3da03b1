"""`resonance gateway`: the typed front door before a Triton, until it is told to stop."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resonance import __version__
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.log_format import LogFormat
from resonance.serving.signs_of_life import SIGN_INTERVAL_S, SIGN_OF_LIFE, SUPERVISED_VARIABLE

if TYPE_CHECKING:
    from resonance.serving.gateway.server import Gateway
    from resonance.space.descriptor import Descriptor

_LIMITS = "Limits"


def _with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with a flag for each limit in place of its ``**limits``."""
    signature = inspect.signature(command)
    flags = [
        inspect.Parameter(
            bound.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=bound.default,
            annotation=Annotated[
                float if bound.type == "float" else int,
                typer.Option(help=bound.metadata["help"], rich_help_panel=_LIMITS),
            ],
        )
        for bound in fields(GatewayLimits)
    ]
    named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*named, *flags])  # type: ignore[attr-defined]
    command.__annotations__ |= {flag.name: flag.annotation for flag in flags}
    return command


@_with_limits
def gateway(
    triton: Annotated[str, typer.Option(help="Triton's gRPC address.")] = "127.0.0.1:8001",
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback with TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    metrics_host: Annotated[str, typer.Option(help="Address of the metrics.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8081,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM), its issuers after it.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Refuse clients without a certificate of these authorities (PEM).")
    ] = None,
    insecure_anywhere: Annotated[
        bool, typer.Option(help="Listen beyond loopback in plain text, where something before it encrypts.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option(help="Who may call: a line 'NAME TOKEN' each. [default: everybody]")
    ] = None,
    spool_folder: Annotated[
        Path | None, typer.Option(help="Where uploads are kept while they are read. [default: the system's]")
    ] = None,
    otlp_endpoint: Annotated[
        str | None, typer.Option(help="OpenTelemetry collector (OTLP/gRPC). [default: no traces]")
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines look.")] = LogFormat.JSON,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="How long uploads in flight may take after SIGTERM.")
    ] = 10.0,
    ready_file: Annotated[
        Path | None, typer.Option(help="Holds the ready line while calls are taken. [default: none]")
    ] = None,
    **limits: Any,
) -> None:
    """Take typed calls and embed through a Triton; one line on stdout says when it is ready.

    Exit code 0: stopped when told to; 1: could not start; 2: wrong use.
    """
    import asyncio
    import faulthandler

    from resonance.serving.gateway.allocation import give_large_blocks_back

    give_large_blocks_back()  # before threads have arenas of their own
    if os.environ.get("GRPC_VERBOSITY", "").upper() in ("ERROR", "NONE"):
        # before gRPC is loaded: handshakes that fail are counted by its lines
        del os.environ["GRPC_VERBOSITY"]

    from resonance.serving.errors import ServingError
    from resonance.serving.gateway.core_log import StderrLines
    from resonance.serving.gateway.descriptors import allow_descriptors
    from resonance.serving.gateway.logs import configure_logs
    from resonance.serving.gateway.metrics import GatewayMetrics
    from resonance.serving.gateway.reading import NURSERY
    from resonance.serving.gateway.server import Gateway, GatewaySettings
    from resonance.serving.gateway.tls import TlsFiles

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter(
            "a certificate and its key come together", param_hint="--tls-cert, --tls-key"
        )
    if tls_client_ca is not None and tls_cert is None:
        raise typer.BadParameter("it needs --tls-cert and --tls-key", param_hint="--tls-client-ca")
    metrics = GatewayMetrics(version=__version__)
    try:
        settings = GatewaySettings(
            triton=triton,
            host=host,
            port=port,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            tls=TlsFiles(certificate=tls_cert, key=tls_key, client_ca=tls_client_ca)
            if tls_cert and tls_key
            else None,
            insecure_anywhere=insecure_anywhere,
            token_file=token_file,
            spool_folder=spool_folder,
            otlp_endpoint=otlp_endpoint,
            drain_s=drain_seconds,
            limits=GatewayLimits(**limits),
        )
        with StderrLines(on_handshake_failed=metrics.handshake_failed) as lines:
            configure_logs(log_format, stream=lines.stream)
            faulthandler.enable(file=lines.stream)  # the last lines of a crash must not be lost in the pipe
            allow_descriptors()
            try:
                asyncio.run(run(Gateway(settings, metrics), ready_file))
            finally:
                NURSERY.close()  # it holds the pipe of stderr, whose end is waited for
    except ServingError as error:
        typer.echo(f"resonance gateway: {error}", err=True)
        raise typer.Exit(1) from None


async def run(gateway: Gateway, ready_file: Path | None = None) -> None:
    """Start `gateway`, print the ready line, also into `ready_file`, stop it on SIGTERM or SIGINT.

    Raises:
        ServingError: it could not be started, or the file cannot be written.
    """
    import asyncio
    import signal

    from resonance.serving.ready_file import ReadyFile, ready_line

    file = ReadyFile(ready_file) if ready_file else None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(gateway.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    await starting
    signs = asyncio.create_task(_give_signs()) if os.environ.get(SUPERVISED_VARIABLE) else None
    try:
        addresses = {"gateway": gateway.address, "metrics": gateway.metrics_address}

        def write(space: Descriptor | None) -> None:
            if file is not None and not stop.is_set():
                file.update(ready_line(addresses, space), {}, {}, {})

        write(gateway.space)
        gateway.when_space_changes(write)
        typer.echo(ready_line(addresses, gateway.space))
        await stop.wait()
    finally:
        if file is not None:
            file.remove()
        await gateway.stop()
        if signs is not None:
            signs.cancel()


async def _give_signs() -> None:
    """Tell the supervisor, which reads them, that this event loop turns."""
    import asyncio

    while True:
        print(SIGN_OF_LIFE, flush=True)
        await asyncio.sleep(SIGN_INTERVAL_S)
