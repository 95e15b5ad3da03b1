"""Triton's endpoints of administration, closed to callers.

Whoever may infer could by default also unload models, make Triton map any shared memory of the machine,
have it write trace files, or redirect its log. So these groups ask for a header with a key of this server,
made at its start. Inference, health, metadata, configs and statistics stay open: clients and gateways
need them, and they change nothing.

Triton takes the key in its arguments alone, and the arguments of every process can be read by every user
of the machine. The key is therefore given to the launcher in its environment, which only the same user can
read, stands in the arguments for the moment until Triton has read them, and is then overwritten there.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from resonance.clients.credentials import WITHOUT_PROXY

#: Groups of endpoints, as Triton names them; gRPC and HTTP know the same.
CLOSED = ("model-repository", "shared-memory", "trace", "logging")

#: Options of channels to a Triton of ours, with the library's own bounds, left out where options are given.
CHANNEL = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), *WITHOUT_PROXY)

#: What a Triton says to a gRPC call of a closed endpoint that has not its key.
REFUSED = "This protocol is restricted"
_HEADER = "resonance-admin"
_ARG_START, _ARG_END = 45, 46  # of /proc/PID/stat, counted from the field behind the program's name


def new_key() -> str:
    """A key that nobody guesses."""
    return secrets.token_hex(32)


def flags(key: str) -> list[str]:
    """What `tritonserver` is given so that the closed endpoints want `key`."""
    groups = ",".join(CLOSED)
    return [
        f"--grpc-restricted-protocol={groups}:{_HEADER}={key}",
        f"--http-restricted-api={groups}:{_HEADER}={key}",
    ]


def grpc_headers(key: str) -> Mapping[str, str]:
    """What a gRPC call of a closed endpoint carries."""
    return {f"triton-grpc-protocol-{_HEADER}": key}


def hide(pid: int, key: str) -> bool:
    """Overwrite `key` in the arguments of process `pid`, a child of ours; whether none is left to be read.

    A kernel that forbids writing to a child's memory leaves it readable: False.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            at = arguments.find(key.encode())
            while at >= 0:
                memory.seek(start + at)
                memory.write(b"*" * len(key))
                at = arguments.find(key.encode(), at + len(key))
        return key not in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (OSError, ValueError):  # it has ended, or its memory is closed to us
        return False
