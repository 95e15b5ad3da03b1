"""Where a sink's journal is when nobody says."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

from resonance.clients.ingest.errors import JournalError
from resonance.clients.ingest.qdrant_place import qdrant_place
from resonance.clients.ingest.uris import local_path, normal

#: Where journal and quarantine stand in a sink's folder; readers of Parquet leave such names out.
STATE_FOLDER = "_resonance"
_JOURNAL = "journal.sqlite"


def default_journal(sink: str) -> Path:
    """In the sink's own folder, or this user's for one elsewhere.

    Raises:
        JournalError: only one is there of which it cannot be told whether it is this sink's.
        UsageError: see `normal`.
    """
    folder = local_path(sink)
    if folder is not None:
        return folder / STATE_FOLDER / _JOURNAL
    journal = _of_this_user(normal(sink))
    if journal.exists():
        return journal
    # before an embedded Qdrant's folder was resolved, and before a last slash was left out
    bare = sink.rstrip("/")
    befores = [_of_this_user(name) for name in dict.fromkeys((bare, f"{bare}/", sink))]
    earlier = next((before for before in befores if before.exists()), None)
    if earlier is None:
        return journal
    place = qdrant_place(sink)
    if place is None or place.folder is None or place.folder.is_absolute():
        return earlier
    move = shlex.join(["mv", str(earlier.parent), str(journal.parent)])
    raise JournalError(
        str(earlier),
        f"a journal of '{sink}', whichever folder that was seen from",
        f"it at the place of this sink, if it is its own: {move}; or, to begin anew, --journal {journal}",
    )


def is_inside(journal: Path, sink: str) -> bool:
    """Whether a journal stands in the sink's own folder, and not where a link in it leads."""
    folder = local_path(sink)
    return folder is not None and journal.resolve().parent == folder.resolve() / STATE_FOLDER


def _of_this_user(sink: str) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.blake2b(sink.encode(), digest_size=8).hexdigest()
    return state / "resonance" / f"ingest-{name}" / _JOURNAL
