"""Bearer tokens: who may call, by name, from a file that may change while the gateway runs.

One `NAME TOKEN` a line, `#` starts a comment. A name may stand on several lines, so that a token can be
replaced without a pause: add the new one, move the callers, take the old one out.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from resonance.serving.errors import GatewayConfigError
from resonance.serving.gateway.secret_files import Refusals, signature_of, warn_of_readers

_log = logging.getLogger(__name__)
MIN_TOKEN_CHARACTERS = 32
MAX_TOKEN_CHARACTERS = 512
MAX_FILE_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what RFC 6750 allows after "Bearer"
_RECHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    digest: bytes = field(repr=False)


class TokenFile:
    """The tokens of a file, read again at most once a second where it changed.

    A new state of the file that cannot be used changes nothing: the old tokens stay, the log says so once,
    and it is tried again each minute. A file without any token is such a state, so nobody is locked out by
    half a write.

    Args:
        path: the file.
        clock: seconds that never go back.

    Raises:
        GatewayConfigError: it cannot be read, holds no token, or a line is wrong. No message shows a token.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._refusals = Refusals(clock)
        self._seen = signature_of(path)
        self._take(_read(path))
        self._checked_s = clock()

    @property
    def names(self) -> frozenset[str]:
        """Who has a token."""
        return frozenset(entry.name for entry in self._entries)

    def name_of(self, token: bytes) -> str | None:
        """Whose token it is; None where it is nobody's. Takes the same time either way."""
        self.look()
        presented = digest_of(token)
        found: str | None = None
        for entry in self._entries:
            # to the end of the list even when it was found: the time tells nothing
            found = entry.name if hmac.compare_digest(entry.digest, presented) else found
        return found

    def holds(self, digest: bytes) -> bool:
        """Whether the token of this digest, which it once knew, still stands in it."""
        self.look()
        return digest in self._digests

    def _take(self, entries: list[_Entry]) -> None:
        self._entries, self._digests = entries, frozenset(entry.digest for entry in entries)
        warn_of_readers(self._path, "the tokens")

    def look(self) -> None:
        """Read the file again where it changed; no more than once a second."""
        now_s = self._clock()
        if now_s - self._checked_s < _RECHECK_S:
            return
        self._checked_s = now_s
        signature = signature_of(self._path)
        if signature == self._seen or self._refusals.stands(signature):
            return
        try:
            self._take(_read(self._path))
        except GatewayConfigError as error:
            if self._refusals.refuse(signature, str(error)):
                _log.error("the token file changed but cannot be used, the old tokens are kept: %s", error)
        else:
            self._seen = signature
            _log.info("the token file changed: %d tokens of %d callers", len(self._entries), len(self.names))


def digest_of(token: bytes) -> bytes:
    """What is kept of a token, of one length whatever came."""
    return sha256(token).digest()


def bearer_token(values: list[str | bytes]) -> bytes | None:
    """The token of the `authorization` headers of a call, or None.

    None for no header, several (which one counts would be a guess), another scheme, anything that is not
    ASCII or cannot be a token.
    """
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or len(token) > MAX_TOKEN_CHARACTERS or not _TOKEN.fullmatch(token):
        return None
    return token.encode("ascii")


def _read(path: Path) -> list[_Entry]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise GatewayConfigError(
            f"{path}: cannot be read ({error.strerror}); expected a file of tokens that this user may read"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise GatewayConfigError(f"{path}: over {MAX_FILE_BYTES:,} bytes; expected one NAME TOKEN a line")
    entries: list[_Entry] = []
    owner: dict[bytes, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if entry := _parse(f"{path}, line {number}", line):
            if owner.setdefault(entry.digest, entry.name) != entry.name:
                raise GatewayConfigError(
                    f"{path}, line {number}: a token of another name; expected each once"
                )
            entries.append(entry)
    if not entries:
        raise GatewayConfigError(f"{path}: no token in it; expected one NAME TOKEN a line")
    return entries


def _parse(where: str, line: str) -> _Entry | None:
    """A line's entry; None for a comment. Never quotes the line: what stands wrongly may be a token."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    if len(words) > 2 and words[2].startswith("#"):
        del words[2:]
    if len(words) != 2:
        raise GatewayConfigError(f"{where}: {len(words)} words; expected NAME TOKEN")
    name, token = words
    if not _NAME.fullmatch(name):
        raise GatewayConfigError(f"{where}: not a name; expected up to 64 letters, digits, '.', '_' and '-'")
    if not MIN_TOKEN_CHARACTERS <= len(token) <= MAX_TOKEN_CHARACTERS:
        raise GatewayConfigError(
            f"{where}: a token of {len(token)} characters; expected {MIN_TOKEN_CHARACTERS} to "
            f"{MAX_TOKEN_CHARACTERS}, such as from `openssl rand -hex 32`"
        )
    if not _TOKEN.fullmatch(token):
        raise GatewayConfigError(
            f"{where}: characters no token may have; expected letters, digits and -._~+/="
        )
    return _Entry(name, digest_of(token.encode("ascii")))
