"""What the end of a reading process says: about the media, or about the machine."""

from __future__ import annotations

import signal

from resonance.clients.errors import CorruptMediaError, MediaError, MediaLimitError, ServerFaultError
from resonance.serving.gateway.reading.child import NO_THREAD
from resonance.serving.gateway.reading.limits import ReadLimits
from resonance.serving.gateway.reading.nursery import Death

#: Libraries end the process where memory is refused to them; one that came this near to its limit was.
MEMORY_SHARE = 0.8
_BY_MEMORY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGTRAP)


def death_error(media: str, death: Death, limits: ReadLimits) -> MediaError | ServerFaultError:
    """The error that a process's unasked-for end stands for.

    Want of memory or threads on this machine is no fault of the media, which may be sent again.
    """
    if death.status == NO_THREAD:
        return ServerFaultError(
            f"{media}: the gateway's machine gave its reader no thread; expected room for a dozen of each "
            "reader (pids limit, ulimit -u); send it again"
        )
    if death.status == -signal.SIGKILL:  # media end a reader by other signals; the kernel sends this one
        return ServerFaultError(
            f"{media}: its reader was killed at {death.memory_bytes:,} bytes of memory, as happens where the "
            f"machine has none left; expected {limits.memory_bytes:,} bytes for each reader; send it again"
        )
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
