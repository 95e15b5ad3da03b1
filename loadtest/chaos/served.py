"""What is killed at: the parts of `resonance serve --gateway`, each kill judged by itself.

`resonance serve` gives up on what dies more than five times in ten minutes, and waits longer before each new
start: right for a server, but here it would end the run at the sixth kill. Everything else is the same.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from resonance.serving.cli import LOOPBACK, gateway_command
from resonance.serving.command import ServerSettings
from resonance.serving.ports import choose_ports
from resonance.serving.server import TritonServer
from resonance.serving.supervisor import Supervisor, SupervisorSettings
from resonance.serving.supervisor_gateway import GatewayProcess

#: Deaths further apart than this are not counted together.
WINDOW_S = 1.0
#: What dies is looked at here; being turned away by a busy server is another matter (docs/gateway.md).
ROOM = ("--max-uploads", "8", "--max-queries", "8")


def serve(repository: Path, spool: Path, log_file: Path, ready_file: Path) -> None:
    """Serve on free ports of loopback until SIGTERM; a ready line on stdout.

    Raises:
        ServingError: it could not be started.
    """
    server = TritonServer(ServerSettings(model_repository=repository, http=False, log_file=log_file))
    port = choose_ports(LOOPBACK, {"gateway": 0})["gateway"]

    def command() -> list[str]:
        options = ["--spool-folder", str(spool), "--metrics-port", "0", "--log-format", "text", *ROOM]
        return gateway_command(server, LOOPBACK, port, options)

    supervisor = Supervisor(
        server,
        SupervisorSettings(window_s=WINDOW_S),
        gateway=GatewayProcess(command),
        announce=lambda line: print(line, flush=True),
        ready_file=ready_file,
    )
    asyncio.run(supervisor.run())


def main(
    repository: Path,
    spool: Annotated[Path, typer.Option()],
    log_file: Annotated[Path, typer.Option()],
    ready_file: Annotated[Path, typer.Option()],
) -> None:
    """Serve REPOSITORY."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s")
    serve(repository, spool, log_file, ready_file)


if __name__ == "__main__":
    typer.run(main)
