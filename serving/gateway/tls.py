"""Certificates of the gateway: checked at the start, and taken anew when their files change.

gRPC asks for the certificate before each handshake, so a renewed one serves the next connection and
those that stand are left alone. They may stand for days, so the files are looked at in between as well, for
the metrics and the log. A renewal that cannot be used (half written, another key, not valid
today) changes nothing, is logged once, and is tried again a minute later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from resonance.serving.errors import GatewayConfigError
from resonance.serving.gateway.certificates import Validity, check_authorities, check_pair
from resonance.serving.gateway.secret_files import Refusals, Signature, signature_of, warn_of_readers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Files in PEM form.

    Attributes:
        certificate: the server's own, its issuers after it.
        key: its private key, not encrypted.
        client_ca: authorities of client certificates; with it a client without one is refused.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was read, and from which state of the files."""

    signature: Signatures
    configuration: grpc.ServerCertificateConfiguration
    validity: Validity


class ServerTls:
    """The server's side of TLS 1.2 and 1.3.

    Args:
        files: where certificates stand.
        on_connection: called for each connection before its handshake, in a thread of gRPC.
        clock: seconds that never go back.

    Raises:
        GatewayConfigError: a file is missing, unreadable, no certificate or key, one does not belong to the
            other, or it is not valid today.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        on_connection: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._on_connection = on_connection
        self._lock = threading.Lock()
        self._refusals = Refusals(clock)
        self._loaded = self._given = self._load(_signatures(files))  # given: to gRPC
        warn_of_readers(files.key, "the private key")

    @property
    def mutual(self) -> bool:
        """Whether clients need a certificate."""
        return self._files.client_ca is not None

    @property
    def validity(self) -> Validity:
        """When the certificate is valid that the next connection gets."""
        return self._loaded.validity

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port` of a `grpc.aio` server."""
        return grpc.dynamic_ssl_server_credentials(self._loaded.configuration, self._fetch, self.mutual)

    def look(self) -> None:
        """Take the files anew where they changed. Blocks."""
        with self._lock:
            self._look()

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificate, or None to keep the old. An exception would end gRPC's connection."""
        if self._on_connection is not None:
            self._on_connection()
        with self._lock:
            self._look()
            if self._loaded is self._given:
                return None
            self._given = self._loaded
            return self._given.configuration

    def _look(self) -> None:
        signature = _signatures(self._files)
        if signature == self._loaded.signature or self._refusals.stands(signature):
            return
        try:
            self._loaded = self._load(signature)
        except GatewayConfigError as error:
            if self._refusals.refuse(signature, str(error)):
                _log.error("the TLS files changed but cannot be used, the old ones are kept: %s", error)
        else:
            _log.info("the TLS files changed: new connections get the new certificate")

    def _load(self, signature: Signatures) -> _Loaded:
        certificate, key = _read(self._files.certificate), _read(self._files.key)
        validity = check_pair(self._files.certificate, certificate, self._files.key)
        authorities = None
        if self._files.client_ca is not None:
            authorities = _read(self._files.client_ca)
            check_authorities(self._files.client_ca, authorities)
        configuration = grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=authorities
        )
        return _Loaded(signature, configuration, validity)


#: Of each file.
Signatures = tuple[Signature, ...]


def _signatures(files: TlsFiles) -> Signatures:
    paths = (files.certificate, files.key, files.client_ca)
    return tuple(signature_of(path) for path in paths if path is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayConfigError(
            f"{path}: cannot be read ({error.strerror}); expected a PEM file that this user may read"
        ) from error
