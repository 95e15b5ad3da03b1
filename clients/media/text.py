"""Text without a clock: an article or a sentence, split at the space's token limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resonance.clients.errors import NotMediaError
from resonance.clients.media.types import Frames, MediaInfo, ReadTimes, SampledBy, SegmentInput
from resonance.space.descriptor import Descriptor

#: Text files larger than this are not read.
MAX_TEXT_BYTES = 32 * 1024 * 1024
#: Tokens that the tokenizer adds around every piece.
SPECIAL_TOKENS = 2


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        NotMediaError: it cannot be opened, is too large, or is not UTF-8.
    """
    expected = f"a UTF-8 text file of at most {MAX_TEXT_BYTES:,} bytes"
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_TEXT_BYTES:
            raise NotMediaError(str(path), f"{len(raw):,} bytes", expected)
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise NotMediaError(str(path), f"it cannot be opened ({error.strerror})", expected) from error
    except UnicodeDecodeError as error:
        raise NotMediaError(str(path), f"bytes that are not UTF-8 ({error.reason})", expected) from error


def split_text(text: str, tokens_per_piece: int) -> Iterator[str]:
    """Pieces of at most `tokens_per_piece` tokens, cut between words; a longer word is cut through.

    A token is never more than a UTF-8 byte, so counting bytes keeps every tokenizer within its limit.
    """
    room = tokens_per_piece - SPECIAL_TOKENS
    piece: list[str] = []
    used = 0
    for word in text.split():
        for part in _cut(word, room):
            size = len(part.encode()) + 1  # and the space before it
            if piece and used + size > room:
                yield " ".join(piece)
                piece, used = [], 0
            piece.append(part)
            used += size
    if piece:
        yield " ".join(piece)


def _cut(word: str, room: int) -> Iterator[str]:
    part, used = "", 0
    for character in word:
        size = len(character.encode())
        if used + size > room - 1:
            yield part
            part, used = "", 0
        part, used = part + character, used + size
    if part:
        yield part


class TextReader:
    """Segments of a text: no clock, no pictures, no sound."""

    def __init__(self, text: str, descriptor: Descriptor, *, name: str) -> None:
        self.info = MediaInfo(name=name, container="text", duration_s=None)
        self.times = ReadTimes()
        self._text, self._tokens = text, descriptor.segment.text_tokens

    def segments(self) -> Iterator[SegmentInput]:
        """One segment a piece."""
        for index, piece in enumerate(split_text(self._text, self._tokens)):
            yield SegmentInput(index=index, start_s=None, end_s=None, text=piece, sampled_by=SampledBy.NONE)

    def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """Text has no pictures."""
        return None

    def close(self) -> None:
        """Nothing is open."""
