"""How a harness ends that cannot go on: one line, and an exit code.

0 and 1 say how what was measured stands, 2 that it could not be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from resonance.clients.errors import ResonanceError
from resonance.serving.errors import ServingError
from resonance.space.errors import SpaceError

FAILED, NOT_RUN = 1, 2
#: What stands in the way of any harness: servers, media, descriptors, files.
IN_THE_WAY = (ServingError, ResonanceError, SpaceError, OSError)


@contextmanager
def exits(console: Console, code: int, *errors: type[Exception]) -> Iterator[None]:
    """Ends the command with `code` where one of `errors` is raised.

    Raises:
        typer.Exit: after the error is printed on one line.
    """
    try:
        yield
    except errors as error:
        console.print(" ".join(str(error).split()), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(code) from error
