"""Where a sink's journal is when nobody says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from resonance.clients.ingest.uris import local_path, normal

#: Where journal and quarantine stand in a sink's folder; readers of Parquet leave such names out.
STATE_FOLDER = "_resonance"


def default_journal(sink: str) -> Path:
    """In the sink's own folder, or this user's for one elsewhere."""
    folder = local_path(sink)
    if folder is not None:
        return folder / STATE_FOLDER / "journal.sqlite"
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.blake2b(normal(sink).encode(), digest_size=8).hexdigest()
    return state / "resonance" / f"ingest-{name}" / "journal.sqlite"
