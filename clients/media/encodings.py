"""The characters of subtitle files, which do not say what they are encoded in."""

from __future__ import annotations

import codecs

#: Encodings of languages in Latin letters, and of others: what browsers read, and ISO 8859. Not those of the
#: Macintosh, DOS and mainframes, which a few accents of Italian are taken for.
LATIN = (
    "cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "iso8859-1", "iso8859-2", "iso8859-3", "iso8859-4",
    "iso8859-9", "iso8859-10", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16",
)  # fmt: skip
OTHERS = (
    "cp1251", "koi8-r", "koi8-u", "iso8859-5", "cp1253", "iso8859-7", "cp1255", "iso8859-8", "cp1256",
    "iso8859-6", "cp874", "gb18030", "big5hkscs", "cp932", "shift_jis_2004", "euc_jis_2004", "cp949",
)  # fmt: skip
#: Of letters, the bytes beyond ASCII in a language of Latin letters, at most: 15% in Czech, 2% in Italian. In
#: Russian, Greek or Chinese they are nearly all, among lines of English still a third.
MOST_ACCENTS = 0.2
#: Fewer bytes beyond ASCII tell nothing of the language.
FEWEST_TELLING = 3
#: So many characters beyond ASCII to a broken one are UTF-8 with damage: others hardly hold any by chance.
GOOD_TO_BROKEN = 2
ASCII = bytes(range(0x80))
NO_LETTERS = bytes(byte for byte in range(256) if not chr(byte).isalpha() or byte >= 0x80)
#: The text that languages are told by; all of a film's.
EXAMINED_BYTES = 200_000


def look_up_all() -> None:
    """Read from disk all that `decoded` may need, for processes that may open no file later."""
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", *LATIN, *OTHERS):
        codecs.lookup(encoding)
    # what chardet loads for few letters, and for so many pairs of them that it leaves languages out early
    decoded("za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105".encode("cp1250"))
    decoded(b" ".join(bytes((97 + i % 26, 0xC0 + i * i % 61, 97 + i * 3 % 26)) for i in range(4000)))


def decoded(raw: bytes) -> str:
    """The text of a subtitle file in any of the encodings that they are found in; none is refused.

    UTF-8 and UTF-16 are told for sure, others by the language that they make (chardet). Characters that are
    broken, or of another encoding than the rest, are read as U+FFFD.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    if unmarked := _utf_16(raw):
        return raw.decode(unmarked, "replace")
    text = raw.decode("utf-8-sig", "replace")
    broken, foreign = text.count("\ufffd"), len(raw.translate(None, ASCII))
    if not broken or len(text) - (len(raw) - foreign) - broken >= GOOD_TO_BROKEN * broken:
        return text
    if foreign >= FEWEST_TELLING and (found := _by_language(raw, foreign)):
        return raw.decode(found, "replace")
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # cp1252 lacks five bytes, this none


def _utf_16(raw: bytes) -> str | None:
    """UTF-16 without its mark: digits and times have a 0 in every pair of bytes, always on the same side."""
    first, second = raw[0::2].count(0), raw[1::2].count(0)
    if max(first, second) * 8 < len(raw):
        return None
    return "utf-16-be" if first > second else "utf-16-le"


def _by_language(raw: bytes, foreign: int) -> str | None:
    """The encoding that makes most of a language of the bytes, `foreign` of them beyond ASCII; None: none."""
    import chardet  # models of 30 MB, for the few files that need them

    letters = foreign + len(raw.translate(None, NO_LETTERS))
    return chardet.detect(
        b"\n".join(line for line in raw.splitlines() if not line.isascii()),  # no times, no numbers
        include_encodings=LATIN if foreign < MOST_ACCENTS * letters else LATIN + OTHERS,
        max_bytes=EXAMINED_BYTES,
        prefer_superset=False,  # the "superset" of ISO 8859-2 and -7 has other letters in places
        compat_names=False,
    )["encoding"]
