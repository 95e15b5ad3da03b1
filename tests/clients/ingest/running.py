"""Jobs as a user runs them: the command, its exit code, its summary."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from resonance.clients.ingest.stores import open_store

COMMAND = [sys.executable, "-c", "from resonance.clients.cli.main import main; main()"]


def ingest(source: Path | str, sink: Path | str, server: str, *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, summary, and what was said on stderr."""
    command = [*COMMAND, "ingest", str(source), "--sink", str(sink), "--server", server, "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def stored(uri: Path | str) -> dict[str, dict[str, Any]]:
    """Rows by media id; none twice."""
    store = open_store(str(uri))
    try:
        rows = [row for batch in store.titles() for row in batch.to_pylist()]
    finally:
        store.close()
    assert len({row["media_id"] for row in rows}) == len(rows)
    return {row["media_id"]: row for row in rows}
