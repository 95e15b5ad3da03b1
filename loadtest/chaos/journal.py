"""What an ingestion job keeps of a title: a line for each segment as soon as it is there, then the title.

A line is JSON with one message of resonance.v1 in base64, so that floats come back bit by bit.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from resonance.clients.gateway.messages import FieldNames, segment_from_message, segment_to_message
from resonance.clients.gateway.messages import title_to_message as title_message
from resonance.clients.results import MediaEmbedding, Segment
from resonance.v1 import embedding_pb2 as pb

SEGMENT, TITLE = "segment", "title"


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands in a journal, in its order; a torn last line, cut off by a kill, is left out.

    Attributes:
        size_bytes: of the whole lines.
    """

    segments: tuple[pb.Segment, ...]
    titles: tuple[pb.Title, ...]
    size_bytes: int

    def done(self, names: FieldNames) -> list[Segment]:
        """The segments as a client takes them to go on."""
        return [segment_from_message(segment, names) for segment in self.segments]


def read_journal(path: Path) -> Kept:
    """What `path` holds; nothing where there is none."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    segments, titles = [], []
    for line in whole.splitlines():
        row: dict[str, str] = json.loads(line)
        if SEGMENT in row:
            segments.append(pb.Segment.FromString(base64.b64decode(row[SEGMENT])))
        else:
            titles.append(pb.Title.FromString(base64.b64decode(row[TITLE])))
    return Kept(tuple(segments), tuple(titles), len(whole))


def forget(path: Path) -> None:
    """Begin anew."""
    path.unlink(missing_ok=True)


class Journal:
    """Appends to the journal at `path`; what a kill left of a line is cut off first."""

    def __init__(self, path: Path) -> None:
        self.kept = read_journal(path)
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(self.kept.size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def segment(self, segment: Segment) -> None:
        """Keep a segment."""
        self._append(SEGMENT, segment_to_message(segment).SerializeToString())

    def title(self, title: MediaEmbedding) -> None:
        """Keep the title, which is the last line."""
        self._append(TITLE, title_message(title).SerializeToString())

    def _append(self, kind: str, message: bytes) -> None:
        self._file.write(json.dumps({kind: base64.b64encode(message).decode()}).encode() + b"\n")
        self._file.flush()  # in the kernel's hands it outlives this process
