"""Text without a clock: an article or a sentence, split at the space's token limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import bidirectional, category

from resonance.clients.errors import NoModalityError, NotMediaError
from resonance.clients.media.types import Frames, MediaInfo, ReadTimes, SampledBy, SegmentInput
from resonance.space.descriptor import Descriptor

#: Names of files that are taken as text without a clock.
TEXT_SUFFIXES = (".txt", ".md")
#: Text files larger than this are not read.
MAX_TEXT_BYTES = 32 * 1024 * 1024
EXPECTED_TEXT = f"UTF-8 text of at most {MAX_TEXT_BYTES:,} bytes"
#: Categories of characters that a terminal obeys: controls, separators of lines and paragraphs.
_STEERS = frozenset(("Cc", "Zl", "Zp"))
#: Kinds that turn what stands between them, and with it how a name ends. Marks, which turn nothing, are not
#: of them: names in Hebrew and Arabic have them.
_TURNS = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
#: What `str.split` parts a text into.
_WORD = re.compile(r"\S+")
#: Tokens that the tokenizer adds around every piece.
SPECIAL_TOKENS = 2


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        NotMediaError: it cannot be opened, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            return decode_text(file.read(MAX_TEXT_BYTES + 1), str(path))
    except OSError as error:
        raise NotMediaError(str(path), f"it cannot be opened ({error.strerror})", EXPECTED_TEXT) from error


def decode_text(data: bytes, name: str) -> str:
    """The text of UTF-8 bytes.

    Raises:
        NotMediaError: they are too many, or not UTF-8.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise NotMediaError(name, f"over {MAX_TEXT_BYTES:,} bytes of text", EXPECTED_TEXT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotMediaError(name, f"bytes that are not UTF-8 ({error.reason})", EXPECTED_TEXT) from error


def can_be_stored(text: str) -> bool:
    """Whether it is UTF-8: in names of files, and arguments of commands, surrogates stand for other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """Text that can be written to a terminal: what is not UTF-8, steers it, or turns the direction of what
    follows is spelled out."""
    written = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        c.encode("unicode_escape").decode() if category(c) in _STEERS or bidirectional(c) in _TURNS else c
        for c in written
    )


def check_text(text: str, name: str) -> None:
    """Refuse text that cannot be sent.

    Raises:
        NotMediaError: it is not UTF-8.
    """
    if not can_be_stored(text):
        raise NotMediaError(shown(name), "text that is not UTF-8", EXPECTED_TEXT)


def split_text(
    text: str, tokens_per_piece: int, count_tokens: Callable[[str], int] | None = None
) -> Iterator[str]:
    """Pieces of at most `tokens_per_piece` tokens, cut between words; a longer word is cut through.

    Args:
        count_tokens: tokens of a text, those the tokenizer adds around it included. Without it UTF-8 bytes
            and `SPECIAL_TOKENS` are counted: a token is never more than a byte, so that keeps every
            tokenizer within its limit, and is exact for byte-level ones.
    """
    count = count_tokens or _bytes_as_tokens
    piece: list[str] = []
    size = 0  # tokens of the piece; words are added up, for tokenizers do not join across white space
    around = count("")
    for found in _WORD.finditer(text):  # a list of all words takes twenty times the memory of the text
        word = found[0]
        for part in _cut(word, tokens_per_piece, count):
            more = max(count(f" {part}") - around, 0)
            if piece and around + size + more > tokens_per_piece:
                yield " ".join(piece)
                piece, size = [], 0
            piece.append(part)
            size += more
    if piece:
        yield " ".join(piece)


def _bytes_as_tokens(text: str) -> int:
    return len(text.encode()) + SPECIAL_TOKENS


#: No token is taken to be longer than this many characters; keeps cutting linear in the text.
_TOKEN_CHARACTERS = 16


def _cut(word: str, most: int, count: Callable[[str], int]) -> Iterator[str]:
    """The word, in parts of at most `most` tokens where it is longer; one character at least a part."""
    reach = most * _TOKEN_CHARACTERS
    while word:
        low, high = 1, min(len(word), reach)
        if count(f" {word[:high]}") <= most:
            low = high
        while low < high:  # the longest beginning that fits, by halving
            middle = (low + high + 1) // 2
            if count(f" {word[:middle]}") <= most:
                low = middle
            else:
                high = middle - 1
        yield word[:low]
        word = word[low:]


class TextReader:
    """Segments of a text: no clock, no pictures, no sound.

    `count_tokens`: see `split_text`; pieces below `first_index` are left out.
    """

    def __init__(
        self,
        text: str,
        descriptor: Descriptor,
        *,
        name: str,
        count_tokens: Callable[[str], int] | None = None,
        first_index: int = 0,
    ) -> None:
        self.info = MediaInfo(name=name, container="text", duration_s=None)
        self.times = ReadTimes()
        self._text, self._tokens = text, descriptor.segment.text_tokens
        self._count_tokens, self._first_index = count_tokens, first_index

    def segments(self) -> Iterator[SegmentInput]:
        """One segment a piece.

        Raises:
            NoModalityError: there are no words.
        """
        if not _WORD.search(self._text):
            raise NoModalityError(self.info.name, "no words", "text with words in it")
        for index, piece in enumerate(split_text(self._text, self._tokens, self._count_tokens)):
            if index >= self._first_index:
                yield SegmentInput(
                    index=index, start_s=None, end_s=None, text=piece, sampled_by=SampledBy.NONE
                )

    def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """Text has no pictures."""
        return None

    def close(self) -> None:
        """Nothing is open."""
