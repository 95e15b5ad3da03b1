"""Subtitle files beside media, told by their names: film.srt, film.en.vtt, film.pt_BR.sdh.srt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.paths import is_file

SUBTITLE_SUFFIXES = (".srt", ".vtt")
#: What follows the stem: a language, then what kind of subtitles they are. "hi" alone is Hindi; sdh and cc
#: are no languages.
_REST = re.compile(
    r"(?P<language>\.(?!(?i:sdh|cc)\b)[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*)?"
    r"(?P<kinds>(\.(?i:default|full|sdh|cc|hi|forced))*)"
    r"(?P<suffix>\.(?i:srt|vtt))"
)


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
    `SidecarName`."""
    if not path.name:  # a root, which has no file beside it
        return None
    for suffix in SUBTITLE_SUFFIXES:  # without listing a folder, which may be large
        exact = path.with_suffix(suffix)
        if is_file(exact):
            return exact
    try:
        named = [found for p in path.parent.iterdir() if (found := sidecar_name(p.name, path.stem))]
    except OSError:
        return None
    found = min(named, default=None)
    return path.with_name(found.name) if found and not found.forced else None
