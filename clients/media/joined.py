"""What the streams of a title give for one window, as one segment."""

from __future__ import annotations

from resonance.clients.media.sound import SoundWindow
from resonance.clients.media.types import SampledBy, SegmentInput
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.windows import Windows
from resonance.clients.media.words import WordsWindow


def join_window(
    windows: Windows,
    index: int,
    seen: VideoWindow | None,
    heard: SoundWindow | None,
    said: WordsWindow | None,
) -> SegmentInput | None:
    """The segment of window `index`; None where it has no picture, no sound above silence and no words."""
    pcm = heard.pcm if heard else None
    if not ((seen and seen.video is not None) or pcm is not None or said):
        return None
    start_s, end_s = windows.start_s(index), windows.end_s(index)
    # words may be shown past the end of what they belong to
    ends_s = [seen.end_s] if seen and not seen.stands_on else []
    ends_s += [heard.end_s] if heard else []
    covered = ends_s or [said.end_s if said else end_s]
    lasts_to_s = min(max(ends_s), end_s) if ends_s else end_s
    if lasts_to_s <= start_s:  # a lone picture that does not tell how long it stands
        lasts_to_s = end_s
    return SegmentInput(
        index=index,
        start_s=start_s,
        end_s=min(max(covered), end_s),
        video=seen.video if seen else None,
        sampled_by=seen.sampled_by if seen else SampledBy.NONE,
        frame_times_s=seen.frame_times_s if seen else (),
        pcm=pcm,
        text=said.text if said else None,
        cut_rate_per_min=seen.cut_rate_per_min if seen else None,
        motion=seen.motion if seen else None,
        words_per_second=said.words_per_second(start_s, lasts_to_s) if said else None,
    )
