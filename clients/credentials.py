"""Who the caller is, and whom it trusts: a bearer token, certificates, and where a token may be sent."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from resonance.clients.errors import CredentialsError

MAX_TOKEN_CHARACTERS = 4096
#: Far above any chain of certificates; keeps a wrong path from being read into memory.
_MAX_PEM_BYTES = 1 << 20

#: Channel options: nothing to the proxy that the environment names, which else gets what is for this machine.
WITHOUT_PROXY = (("grpc.enable_http_proxy", 0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A token, certificates, both or neither.

    Attributes:
        token: sent as ``authorization: Bearer``; or token_file, a file that holds it, read anew for each call
            so that it can be replaced while jobs run.
        ca_file: authorities that the server's certificate must come from, PEM; turns TLS on.
        cert_file, key_file: the caller's own certificate and key for mutual TLS, PEM; they turn TLS on.
        tls: TLS with the authorities that this machine trusts.

    Raises:
        CredentialsError: two tokens, or a certificate without its key.
    """

    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    tls: bool = False

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            raise CredentialsError("came a token and a token file; expected one of them")
        if (self.cert_file is None) != (self.key_file is None):
            came = "a certificate without its key" if self.cert_file else "a key without its certificate"
            raise CredentialsError(f"came {came}; expected both or neither")

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or self.ca_file is not None or self.cert_file is not None

    def check_for(self, address: str) -> None:
        """Refuse to send a token in the open.

        Raises:
            CredentialsError: there is a token, no TLS, and `address` is not on this machine.
        """
        if (self.token is None and self.token_file is None) or self.secure or is_loopback(address):
            return
        raise CredentialsError(
            f"a token for {address} without TLS, where anyone on the way could read it; give the authority "
            "of its certificate (ca_file, --tls-ca), or tls (--tls) where this machine trusts it already"
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with a call: the token, read now, or nothing.

        Raises:
            CredentialsError: the file cannot be read, or holds no token.
        """
        if self.token_file is not None:
            where = str(self.token_file)
            token = _read(self.token_file, "a file with the token in one line").decode("ascii", "replace")
            token = token.strip()
        elif self.token is not None:
            where, token = "the token", self.token
        else:
            return ()
        if not 0 < len(token) <= MAX_TOKEN_CHARACTERS or not all(0x21 <= ord(c) <= 0x7E for c in token):
            raise CredentialsError(
                f"{where}: {len(token):,} characters, too many or some not allowed in a token; expected 1 to "
                f"{MAX_TOKEN_CHARACTERS:,} visible ASCII characters without spaces"
            )
        return (("authorization", f"Bearer {token}"),)

    def channel(self) -> grpc.ChannelCredentials | None:
        """For a gRPC channel; None for plain text.

        Raises:
            CredentialsError: a file cannot be read, or is not PEM.
        """
        if not self.secure:
            return None
        expected = "certificates or a key in PEM"
        files = [
            _pem(path, expected) if path is not None else None
            for path in (self.ca_file, self.key_file, self.cert_file)
        ]
        return grpc.ssl_channel_credentials(*files)


def is_loopback(address: str) -> bool:
    """Whether ``host:port`` (or ``unix:…``) can only be on this machine; of names, localhost alone is."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    address = address.rpartition("/")[2]  # dns:///host:port, ipv4:host:port have other forms before it
    host = address.rpartition(":")[0] or address
    host = host.removeprefix("ipv4:").removeprefix("ipv6:").strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_options(address: str, *, encrypted: bool) -> tuple[tuple[str, int], ...]:
    """Options of a channel to `address`: through the environment's HTTP proxy goes TLS to elsewhere alone.

    What is plain it could read, such as a token that was never to leave this machine.
    """
    return () if encrypted and not is_loopback(address) else WITHOUT_PROXY


def _read(path: Path, expected: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error


def _pem(path: Path, expected: str) -> bytes:
    data = _read(path, expected)
    if b"-----BEGIN " not in data:
        raise CredentialsError(f"{path}: {len(data):,} bytes that are not PEM; expected {expected}")
    return data
