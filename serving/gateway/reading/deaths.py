"""What the end of a reading process says about the media."""

from __future__ import annotations

import signal

from resonance.clients.errors import CorruptMediaError, MediaError, MediaLimitError
from resonance.serving.gateway.reading.limits import ReadLimits
from resonance.serving.gateway.reading.nursery import Death

#: Libraries end the process where memory is refused to them; one that came this near to its limit was.
MEMORY_SHARE = 0.8
_BY_MEMORY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP)


def death_error(media: str, death: Death, limits: ReadLimits) -> MediaError:
    """The error that a process's unasked-for end stands for."""
    if death.status >= 0:
        return CorruptMediaError(media, f"a file that ended its reader with status {death.status}", "media")
    number = -death.status
    if number in _BY_MEMORY and death.memory_bytes > MEMORY_SHARE * limits.memory_bytes:
        return MediaLimitError(
            media,
            f"{death.memory_bytes:,} bytes of memory to read it",
            f"at most {limits.memory_bytes:,}",
        )
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return CorruptMediaError(media, f"a file that ended its reader with {name}", "media that can be read")
