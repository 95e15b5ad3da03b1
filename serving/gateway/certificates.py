"""Checks of PEM files, with the standard library alone: each says what is wrong and what to do."""

from __future__ import annotations

import re
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resonance.serving.errors import GatewayConfigError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_HANDSHAKE_STEPS = 10


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    begins_unix_s: float
    ends_unix_s: float

    @property
    def lifetime_s(self) -> float:
        """From its first moment to its last."""
        return self.ends_unix_s - self.begins_unix_s


def check_pair(certificate_path: Path, certificate: bytes, key_path: Path) -> Validity:
    """When the certificate is valid, after a handshake with itself in memory.

    Args:
        certificate: the content of `certificate_path`, the server's own certificate first.

    Raises:
        GatewayConfigError: no certificate, no key, an encrypted one, one of another certificate, one that is
            expired, not valid yet or not meant for servers.
    """
    own = _CERTIFICATE.search(certificate)
    if own is None:
        raise GatewayConfigError(f"{certificate_path}: no certificate in it; expected PEM, BEGIN CERTIFICATE")

    def no_password() -> bytes:
        raise GatewayConfigError(f"{key_path}: the key is encrypted; expected one without a password")

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate_path, key_path, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"{key_path}: not the key of {certificate_path}; expected the key it was issued for"
        else:
            found = error.reason or "not PEM"
            message = f"{certificate_path}, {key_path}: {found}; expected a certificate and key in PEM"
        raise GatewayConfigError(message) from None
    except OSError as error:  # read a moment ago, and being replaced
        raise GatewayConfigError(
            f"{certificate_path}, {key_path}: cannot be read ({error.strerror}); expected PEM files"
        ) from None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its issuer is the clients' affair
    try:
        client.load_verify_locations(cadata=own.group().decode("ascii"))
        return _validity_seen_by(client, server)
    except ssl.SSLCertVerificationError as error:
        raise GatewayConfigError(
            f"{certificate_path}: {error.verify_message}; expected a server certificate that is valid today"
        ) from None
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise GatewayConfigError(
            f"{certificate_path}: {error}; expected a server certificate in PEM"
        ) from None


def check_authorities(path: Path, content: bytes) -> None:
    """Whether clients can be checked against `content`.

    Raises:
        GatewayConfigError: no authority in it, or none that is valid today.
    """
    blocks = _CERTIFICATE.findall(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if blocks:
            context.load_verify_locations(cadata=b"\n".join(blocks).decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise GatewayConfigError(f"{path}: {error}; expected certificates in PEM") from None
    authorities = context.get_ca_certs()
    if not authorities:
        raise GatewayConfigError(
            f"{path}: no authority in it; expected the CA certificates of clients in PEM"
        )
    now = time.time()
    if all(ssl.cert_time_to_seconds(str(a["notAfter"])) < now for a in authorities):
        raise GatewayConfigError(
            f"{path}: every authority in it has expired; expected one that is valid today"
        )


def _validity_seen_by(client: ssl.SSLContext, server: ssl.SSLContext) -> Validity:
    """Shake hands in memory; the peer's certificate is told only to one who verified it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_HANDSHAKE_STEPS):
        try:
            theirs.do_handshake()
        except ssl.SSLWantReadError:
            with suppress(ssl.SSLWantReadError):
                ours.do_handshake()
            continue
        told = theirs.getpeercert() or {}
        begins, ends = (ssl.cert_time_to_seconds(str(told[key])) for key in ("notBefore", "notAfter"))
        return Validity(begins, ends)
    raise ssl.SSLError("the handshake did not end")
