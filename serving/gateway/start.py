"""The first message of EmbedMedia, checked."""

from __future__ import annotations

from dataclasses import dataclass

from resonance.clients.errors import InvalidFieldError
from resonance.clients.gateway.enums import modality_from_message, sampling_from_message
from resonance.clients.served_space import check_fingerprint
from resonance.serving.gateway.limits import GatewayLimits
from resonance.v1 import embedding_pb2 as pb

MAX_ID_BYTES = 512
MAX_KEY_BYTES = 256
DEFAULT_ROLLING_SEGMENTS = 8
SUBTITLE_FORMATS = ("srt", "vtt")

_MODES = {
    pb.MODE_ENCODED: "encoded",
    pb.MODE_FRAMES: "frames",
    pb.MODE_TEXT: "text",
    pb.MODE_SUBTITLES: "subtitles",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What comes and what is wanted; see `EmbedMediaStart`. None stands for "not said"."""

    media_id: str
    mode: str
    modalities: frozenset[str] | None
    sampling: str | None
    expected_fingerprint: str | None
    idempotency_key: str | None
    live: bool
    rolling_every: int | None
    size_bytes: int | None
    subtitles: tuple[str, bytes] | None


def read_start(message: pb.EmbedMediaStart, limits: GatewayLimits) -> Start:
    """The message as values.

    Raises:
        InvalidFieldError: a field that is not allowed, alone or beside another.
    """
    check_id(message.media_id, "start.media_id")
    if len(message.idempotency_key.encode()) > MAX_KEY_BYTES:
        came = f"{len(message.idempotency_key.encode())} bytes"
        raise InvalidFieldError("start.idempotency_key", came, f"at most {MAX_KEY_BYTES}")
    mode = _MODES.get(message.mode)
    if mode is None:
        raise InvalidFieldError("start.mode", str(message.mode), f"one of {', '.join(pb.Mode.keys()[1:])}")
    modalities = frozenset(modality_from_message(m, "start.modalities") for m in message.modalities)
    if message.live and mode not in ("encoded", "frames"):
        raise InvalidFieldError("start.live", f"true with mode {mode}", "a mode with a clock")
    if message.rolling_title_segments and not message.live:
        raise InvalidFieldError("start.rolling_title_segments", "set without live", "live, or 0")
    if message.size_bytes > limits.max_media_bytes:
        raise InvalidFieldError(
            "start.size_bytes", f"{message.size_bytes:,}", f"at most {limits.max_media_bytes:,}"
        )
    check_fingerprint(message.expected_fingerprint or None, "start.expected_fingerprint")
    return Start(
        media_id=message.media_id,
        mode=mode,
        modalities=modalities or None,
        sampling=sampling_from_message(message.sampling, "start.sampling"),
        expected_fingerprint=message.expected_fingerprint or None,
        idempotency_key=message.idempotency_key or None,
        live=message.live,
        rolling_every=(message.rolling_title_segments or DEFAULT_ROLLING_SEGMENTS) if message.live else None,
        size_bytes=message.size_bytes or None,
        subtitles=_subtitles(message, mode, limits),
    )


def check_id(name: str, field: str) -> None:
    """Names of media are short.

    Raises:
        InvalidFieldError: longer than `MAX_ID_BYTES`.
    """
    size_bytes = len(name.encode())
    if size_bytes > MAX_ID_BYTES:
        raise InvalidFieldError(field, f"{size_bytes} bytes", f"at most {MAX_ID_BYTES}")


def _subtitles(message: pb.EmbedMediaStart, mode: str, limits: GatewayLimits) -> tuple[str, bytes] | None:
    if not message.HasField("subtitles"):
        if mode == "subtitles":
            raise InvalidFieldError("start.subtitles", "absent", "its format, with MODE_SUBTITLES")
        return None
    given = message.subtitles
    if mode not in ("encoded", "subtitles"):
        raise InvalidFieldError(
            "start.subtitles", f"there with mode {mode}", "MODE_ENCODED or MODE_SUBTITLES"
        )
    if given.format not in SUBTITLE_FORMATS:
        raise InvalidFieldError(
            "start.subtitles.format", f"'{given.format[:16]}'", " or ".join(SUBTITLE_FORMATS)
        )
    if len(given.data) > limits.max_subtitle_bytes:
        raise InvalidFieldError(
            "start.subtitles.data", f"{len(given.data):,} bytes", f"at most {limits.max_subtitle_bytes:,}"
        )
    if bool(given.data) is (mode == "subtitles"):
        where = "none, they come as chunks" if mode == "subtitles" else "the bytes of the file"
        raise InvalidFieldError("start.subtitles.data", f"{len(given.data):,} bytes", where)
    return given.format, given.data
