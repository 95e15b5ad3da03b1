"""Free and given ports."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Mapping

from resonance.serving.errors import PortTakenError, StartError

#: Below the range from which the kernel takes ports of outgoing connections (32768 and up), so that
#: none takes a chosen port before the server binds it.
_FREE_PORTS = range(20_000, 32_000)


def choose_ports(
    host: str, wanted: Mapping[str, int], others: Mapping[str, str | None] | None = None
) -> dict[str, int]:
    """The given ports, each checked, and a free one for each 0.

    Args:
        wanted: purpose (``grpc``, ``http``, ``metrics``) -> port.
        others: purpose -> host, of those that are elsewhere than `host`.

    Raises:
        PortTakenError: a given port is in use, or given twice.
        StartError: a host is no address of this machine, or its port may not be used.
    """
    hosts = {purpose: (others or {}).get(purpose) or host for purpose in wanted}
    chosen: dict[str, int] = {}
    for purpose, port in wanted.items():
        if not port:
            continue
        twice = any(hosts[other] == hosts[purpose] and chosen[other] == port for other in chosen)
        if twice or not is_free(hosts[purpose], port):
            raise PortTakenError(purpose, hosts[purpose], port)
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
        if port not in avoid and is_free(host, port):
            return port
    raise StartError(f"no free port found on {host} between {_FREE_PORTS.start} and {_FREE_PORTS.stop}")
