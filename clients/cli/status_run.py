"""What `resonance status` asks and shows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from resonance.clients.cli.reporting import failed_with
from resonance.clients.credentials import Credentials
from resonance.clients.embedder import GATEWAY, TRITON
from resonance.clients.errors import ResonanceError, UsageError
from resonance.clients.gateway.embedder import GatewayEmbedder
from resonance.clients.gateway.server_status import ServerStatus
from resonance.clients.triton_status import TritonStatus, triton_status
from resonance.space.errors import SpaceError

#: A person or a script waits for the answer.
TIMEOUT_S = 10.0
MIB = 1 << 20


async def show_status(server: str, credentials: Credentials, *, json_out: bool) -> int:
    """Print what `server` does now; gives the exit code.

    Raises:
        UsageError: an address or credentials that cannot be used.
    """
    try:
        found = await _ask(server, credentials)
    except UsageError:
        raise
    except (ResonanceError, SpaceError) as failed:
        return failed_with(failed)
    if json_out:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
    else:
        show(found, server, Console())
    return 0 if found.models and all(model.serving for model in found.models) else 1


async def _ask(server: str, credentials: Credentials) -> ServerStatus | TritonStatus:
    if "," in server:
        raise UsageError(f"server '{server}' names several; expected one, whose status is asked")
    if server.startswith(GATEWAY):
        address = server.removeprefix(GATEWAY)
        async with GatewayEmbedder(address, credentials=credentials, request_timeout_s=TIMEOUT_S) as embedder:
            return await embedder.status()
    address = server.removeprefix(TRITON)
    if "://" in address:
        raise UsageError(f"server '{server}'; expected {GATEWAY}HOST:PORT or {TRITON}HOST:PORT")
    return await triton_status(address, credentials, timeout_s=TIMEOUT_S)


def show(found: ServerStatus | TritonStatus, server: str, console: Console) -> None:
    """Tables that a person can read."""
    space = f"space {found.space_name} {found.fingerprint[:12]}" if found.fingerprint else "no model answers"
    uptime = f", up {_duration(found.uptime_s)}" if isinstance(found, ServerStatus) else ""
    console.print(f"{server}  {space}{uptime}", markup=False, highlight=False, soft_wrap=True)
    if isinstance(found, TritonStatus):
        models = Table("model", "state", "inferences", box=None, padding=(0, 2, 0, 0))
        for loaded in found.models:
            models.add_row(loaded.name, _state(loaded.serving), f"{loaded.inferences:,}")
        console.print(models)
        return
    models = Table("model", "state", "checked", "reason", box=None, padding=(0, 2, 0, 0))
    for model in found.models:
        checked = f"{model.checked_s_ago:.0f} s ago" if model.serving is not None else ""
        models.add_row(model.name, _state(model.serving), checked, model.reason)
    console.print(models)
    work = Table("now", "", box=None, padding=(0, 2, 0, 0))
    for label, value in (
        ("uploads", f"{found.uploads}"),
        ("live feeds", f"{found.live_feeds}"),
        ("queries", f"{found.queries}"),
        ("waiting to be admitted", f"{found.queued}"),
        ("segments at the models", f"{found.segments_in_flight}"),
        ("uploads on disk", f"{found.spooled_bytes / MIB:.1f} MiB"),
        ("segments a second", f"{found.segments_per_s:.1f}"),
        ("media a second", f"{found.media_s_per_s:.1f} s"),
        ("refused since the start", ", ".join(f"{n:,} {why}" for why, n in found.refused.items()) or "0"),
        ("abandoned since the start", f"{found.abandoned:,}"),
    ):
        work.add_row(label, value)
    console.print(work)


def _state(serving: bool | None) -> str:
    if serving is None:
        return "not asked yet"
    return "[green]serving[/green]" if serving else "[red]not serving[/red]"


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds) // 60 % 60, int(seconds) // 3600
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"
