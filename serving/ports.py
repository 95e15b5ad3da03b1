"""Free and given ports."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from resonance.serving.errors import PortTakenError, StartError

#: Below the range from which the kernel takes ports of outgoing connections (32768 and up), so that
#: none takes a chosen port before the server binds it.
_FREE_PORTS = range(20_000, 32_000)
#: Ports that this process has picked, and the file whose byte N it has locked for port N; -1: not opened.
_picked: set[int] = set()
_claims_fd = -1
_picking = threading.Lock()


def choose_ports(
    host: str,
    wanted: Mapping[str, int],
    others: Mapping[str, str | None] | None = None,
    flags: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """The given ports, each checked, and a free one for each 0.

    A server binds its ports when its models are loaded, seconds later. So a port that is picked here is
    claimed until this process ends: no other process of this user picks it.

    Args:
        wanted: purpose (``grpc``, ``http``, ``metrics``) -> port.
        others: purpose -> host, of those that are elsewhere than `host`.
        flags: purpose -> what gives its port, for errors; see `PortTakenError`.

    Raises:
        PortTakenError: a given port is in use, or given twice.
        StartError: a host is no address of this machine, or its port may not be used.
    """
    hosts = {purpose: (others or {}).get(purpose) or host for purpose in wanted}
    chosen: dict[str, int] = {}
    given_by = flags or {}
    for purpose, port in wanted.items():
        if not port:
            continue
        for other, taken in chosen.items():
            if hosts[other] == hosts[purpose] and taken == port:
                raise PortTakenError(
                    purpose, hosts[purpose], port, given_for=other, flag=given_by.get(purpose)
                )
        if not is_free(hosts[purpose], port):
            raise PortTakenError(purpose, hosts[purpose], port, flag=given_by.get(purpose))
        chosen[purpose] = port
    for purpose in wanted.keys() - chosen.keys():
        chosen[purpose] = _free_port(hosts[purpose], set(chosen.values()) | set(wanted.values()))
    return chosen


def is_free(host: str, port: int) -> bool:
    """Whether a server could bind `host`:`port` now.

    Raises:
        StartError: `host` is no address of this machine, or the port may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
            probe.bind((host, port))
            probe.listen(1)
    except socket.gaierror as error:
        raise StartError(f"host {host}: not an address ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(f"host {host}: no network interface here has this address") from error
        raise StartError(f"host {host}, port {port}: cannot be used ({error.strerror})") from error
    return True


def listens(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def _free_port(host: str, avoid: set[int]) -> int:
    for port in random.sample(_FREE_PORTS, k=200):
        if port not in avoid and is_free(host, port) and _claim(port):
            return port
    raise StartError(f"no free port found on {host} between {_FREE_PORTS.start} and {_FREE_PORTS.stop}")


def _claim(port: int) -> bool:
    """Whether `port` is the caller's now; the kernel gives it back when the process ends."""
    global _claims_fd
    with _picking:
        if port in _picked:
            return False
        if _claims_fd < 0:
            path = Path(tempfile.gettempdir()) / f"resonance-ports-{os.getuid()}"
            try:
                _claims_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except OSError:
                return True  # nowhere to claim it: it is as good as it was a moment ago
        try:
            fcntl.lockf(_claims_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        _picked.add(port)
        return True
