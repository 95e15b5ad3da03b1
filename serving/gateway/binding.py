"""Which addresses the gateway may listen on: loopback, or anywhere behind TLS."""

from __future__ import annotations

import ipaddress
import socket

from resonance.serving.errors import GatewayConfigError


def bind_policy(host: str, tls: bool, insecure_allowed: bool) -> None:
    """Refuse to listen in plain text where others could reach it.

    Args:
        host: the address or name to listen on.
        tls: whether the port speaks TLS.
        insecure_allowed: the flag `--insecure-anywhere` was given.

    Raises:
        GatewayConfigError: neither loopback, nor TLS, nor allowed; or a name that cannot be resolved.
    """
    if tls or insecure_allowed or is_loopback(host):
        return
    raise GatewayConfigError(
        f"refused to listen on {host!r} without TLS: media, vectors and tokens would cross the network in "
        "plain text; give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure-anywhere where "
        "something before it encrypts"
    )


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is on this machine alone.

    Raises:
        GatewayConfigError: a name that cannot be resolved.
    """
    host = host.strip("[]")
    if not host:
        return False  # every interface
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise GatewayConfigError(
            f"the address {host!r} cannot be resolved ({error}); "
            "expected an IP address or a name of this machine"
        ) from error
    return all(_loopback_address(str(address[4][0])) for address in found)


def _loopback_address(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
