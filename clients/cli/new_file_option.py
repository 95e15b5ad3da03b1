"""Options that name a file to be written, looked at before the work."""

from __future__ import annotations

from pathlib import Path

from resonance.clients.cli.server_options import wrong_use


def writable(path: Path | None) -> Path | None:
    """As the callback of an option: a path where no file can be is wrong use of the command."""
    from resonance.clients.new_files import check_new_file

    if path is not None:
        with wrong_use():
            check_new_file(path)
    return path
