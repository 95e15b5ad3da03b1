"""What a reel holds, and what of a library it could not show; as JSON, the list beside the film."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resonance.clients.discovery.reel_media import Kind
from resonance.clients.discovery.reel_pictures import ReelFormat
from resonance.clients.discovery.reel_plan import Span
from resonance.clients.discovery.search import told_shares
from resonance.clients.discovery.types import TitleFacts
from resonance.clients.errors import UsageError
from resonance.clients.new_files import check_new_file, check_no_input, check_own_json
from resonance.space.scores import Share


@dataclass(frozen=True, slots=True)
class ReelClip:
    """What was taken from where. `source`: in the title; `place`: in the reel; both in seconds."""

    facts: TitleFacts
    kind: Kind
    index: int
    source: Span
    place: Span
    score: float
    shares: tuple[Share, ...]
    start_at_shot: bool
    end_at_shot: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A title that could not be shown though one of its segments was among the best."""

    facts: TitleFacts
    why: str


@dataclass(frozen=True, slots=True)
class Reel:
    """A reel that was written; without clips there is no file."""

    path: Path
    seconds: float
    form: ReelFormat
    clips: tuple[ReelClip, ...]
    left_out: tuple[LeftOut, ...]


def list_path(path: Path) -> Path:
    """Where the list of what was taken stands: ``reel.json`` beside ``reel.mp4``.

    Raises:
        UsageError: `path` does not end in ``.mp4``.
    """
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"{path}: ending '{path.suffix}'; expected .mp4")
    return path.with_suffix(".json")


def check_paths(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a reel at `path` that would destroy what is no reel's.

    Args:
        inputs: files that it is made of.

    Raises:
        UsageError: film or list cannot be there, or would take the place of another file.
    """
    beside = list_path(path)
    for wanted in (path, beside):
        check_new_file(wanted)
        check_no_input(wanted, inputs)
    check_own_json(beside, ("reel", "clips"), "list of a reel")


def told(reel: Reel) -> dict[str, Any]:
    """A reel as JSON has it; times in seconds."""
    return {
        "reel": reel.path.name,
        "duration_s": reel.seconds,
        "width": reel.form.width,
        "height": reel.form.height,
        "fps": reel.form.fps,
        "clips": [
            {
                "media_id": clip.facts.media_id,
                "uri": clip.facts.uri,
                "kind": str(clip.kind),
                "segment": clip.index,
                "source_start_s": clip.source.start_s,
                "source_end_s": clip.source.end_s,
                "reel_start_s": clip.place.start_s,
                "reel_end_s": clip.place.end_s,
                "start_at_shot": clip.start_at_shot,
                "end_at_shot": clip.end_at_shot,
                "score": clip.score,
                "shares": told_shares(clip.shares),
            }
            for clip in reel.clips
        ],
        "left_out": [
            {"media_id": title.facts.media_id, "uri": title.facts.uri, "why": title.why}
            for title in reel.left_out
        ],
    }
