"""Subtitle files beside media, told by their names: film.srt, film.en.vtt, film.pt_BR.sdh.srt."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from resonance.clients.media.text import TEXT_SUFFIXES
from resonance.clients.paths import is_file

SUBTITLE_SUFFIXES = (".srt", ".vtt")
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif",
    ".ico",
)  # fmt: skip
#: Endings of what has no words to be subtitled: film.srt beside film.jpg and film.mp4 belongs to the film.
_WITHOUT_SUBTITLES = (*PICTURE_SUFFIXES, *TEXT_SUFFIXES)
#: What follows the stem: a language, then what kind of subtitles they are. "hi" alone is Hindi; sdh and cc
#: are no languages.
_REST = re.compile(
    r"(?P<language>\.(?!(?i:sdh|cc)\b)[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*)?"
    r"(?P<kinds>(\.(?i:default|full|sdh|cc|hi|forced))*)"
    r"(?P<suffix>\.(?i:srt|vtt))"
)
#: A folder that changed longer ago than this will not change under the same time again: file systems keep
#: times to 2 s at the coarsest.
SETTLED_S = 3.0
#: Until then a folder of more names than these is listed so often at most while its time stays the same:
#: that takes a tenth of a second for a hundred thousand. Not if it had changed within what times are kept to
#: here; where they are coarser, what comes between two listings may be found by the next one alone.
LARGE_NAMES, LARGE_LISTED_EVERY_S, _TICK_S = 1000, 1.0, 0.02


@dataclass(frozen=True, slots=True, order=True)
class SidecarName:
    """What the name of a subtitle file says; sorts by what is a title's transcript first.

    forced: it has only what the film does not say in its own language, such as signs, and is no transcript.
    hearing_impaired: it tells of sounds too. language: with its dot; "" where none is named.
    """

    forced: bool
    hearing_impaired: bool
    language: str
    suffix_order: int
    name: str


def sidecar_name(name: str, stem: str) -> SidecarName | None:
    """What the name of a file says where it is one of subtitles that belong to media called `stem`."""
    rest = _REST.fullmatch(name.removeprefix(stem)) if name.startswith(stem) else None
    if rest is None:
        return None
    kinds = rest["kinds"].lower().split(".")
    order = SUBTITLE_SUFFIXES.index(rest["suffix"].lower())
    return SidecarName(
        "forced" in kinds, not {"sdh", "cc", "hi"}.isdisjoint(kinds), rest["language"] or "", order, name
    )


def find_sidecar(path: Path) -> Path | None:
    """The subtitle file beside `path` that is its transcript: that of the same stem, else the first by
    `SidecarName`. Beside what is named as a picture or a text there is none."""
    if not path.name or path.suffix.lower() in _WITHOUT_SUBTITLES:  # a root has no file beside it
        return None
    for suffix in SUBTITLE_SUFFIXES:  # without listing a folder, which may be large
        exact = path.with_suffix(suffix)
        if is_file(exact):
            return exact
    try:
        beside = _folder(path.parent).subtitles_by_stem().get(path.stem, ())
    except OSError:
        return None
    found = min((named for name in beside if (named := sidecar_name(name, path.stem))), default=None)
    return path.with_name(found.name) if found and not found.forced else None


class _Folder:
    """One listing of a folder for all titles in it: there may be a hundred thousand.

    It is never older than a change that the folder's time tells of: who was told of a new file finds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._changed_ns = -1
        self._stood_s = 0.0  # how long it had not changed when it was listed
        self._changed_seen_s = self._began_s = self._listed_s = -math.inf  # by our own clock
        self._is_large = False
        self._by_stem: dict[str, list[str]] = {}

    def subtitles_by_stem(self) -> Mapping[str, list[str]]:
        """Names of the subtitle files by every stem of media that they may belong to.

        Raises:
            OSError: the folder cannot be read.
        """
        asked_s = time.monotonic()
        with self._lock:
            if asked_s < self._began_s:  # of many that ask side by side one lists it
                return self._by_stem
            now_s, changed_ns = time.monotonic(), self._folder.stat().st_mtime_ns
            if changed_ns == self._changed_ns and self._serves(now_s):
                return self._by_stem
            if changed_ns != self._changed_ns:
                self._changed_seen_s = now_s
            # the folder's time may be of another clock, fast or wrong
            stood_s = max(time.time() - changed_ns / 1e9, now_s - self._changed_seen_s)
            self._stood_s = 0.0  # should listing fail
            self._list()
            self._changed_ns, self._stood_s = changed_ns, stood_s
            self._began_s, self._listed_s = now_s, time.monotonic()  # it may have taken long
            return self._by_stem

    def _serves(self, now_s: float) -> bool:
        """Whether nothing can have come since the listing, of a folder with the same time."""
        if self._is_large and now_s - self._listed_s < LARGE_LISTED_EVERY_S:
            return self._stood_s > _TICK_S
        return self._stood_s > SETTLED_S

    def _list(self) -> None:
        names, by_stem = os.listdir(self._folder), dict[str, list[str]]()
        for name in names:
            if name.lower().endswith(SUBTITLE_SUFFIXES):
                for dot in re.finditer(r"\.", name):
                    by_stem.setdefault(name[: dot.start()], []).append(name)
        self._by_stem, self._is_large = by_stem, len(names) > LARGE_NAMES


_folder = lru_cache(maxsize=8)(_Folder)  # a library's titles come folder by folder
