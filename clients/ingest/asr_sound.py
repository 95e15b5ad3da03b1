"""The sound of a title in pieces that a recogniser can hold, cut where it is quietest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from resonance.clients.media.types import FloatArray, SegmentInput

#: Of segments' sound, and of Whisper's: Radford et al., Robust Speech Recognition via Large-Scale Weak
#: Supervision, 2022, 2.2.
SAMPLE_RATE_HZ = 16_000
#: Sound that is recognised at once: faster-whisper holds up to 1.3 MB for each second of it (docs/asr.md).
PIECE_S = 300.0
#: Silence of so long ends a piece.
LONG_SILENCE_S = 60.0
#: A cut is looked for in so much of a piece's end, and never in its first half.
_SEARCH_S = 60.0
#: Loudness is compared over so long, every so often.
_PAUSE_S, _STEP_S = 0.5, 0.1


def pieces(segments: Iterable[SegmentInput]) -> Iterator[tuple[float, FloatArray]]:
    """When each piece starts, in seconds of the title, and its sound: float32 [samples] at 16 kHz.

    Silence shorter than `LONG_SILENCE_S` is zeros in a piece; longer silence lies between two.
    """
    held: list[FloatArray] = []
    start_s, samples, ends = 0.0, 0, 0  # samples held, and where the sound among them ends
    for segment in segments:
        pcm = segment.pcm
        if pcm is None or segment.start_s is None:
            continue
        gap = round((segment.start_s - start_s) * SAMPLE_RATE_HZ) - samples
        if held and gap >= LONG_SILENCE_S * SAMPLE_RATE_HZ:
            yield start_s, np.concatenate(held)[:ends]
            held = []
        if not held:
            start_s, samples, gap = segment.start_s, 0, 0
        if gap > 0:
            held.append(np.zeros(gap, np.float32))
            samples += gap
        held.append(pcm.samples)
        ends = samples + pcm.length
        samples += pcm.samples.size
        if samples >= PIECE_S * SAMPLE_RATE_HZ:
            sound = np.concatenate(held)
            cut = _quietest(sound)
            held, samples, ends = [sound[cut:].copy()], samples - cut, max(ends - cut, 0)
            piece_s, start_s = start_s, start_s + cut / SAMPLE_RATE_HZ
            yield piece_s, sound[:cut]
            del sound  # as large as all that is held next
    if ends:
        yield start_s, np.concatenate(held)[:ends]


def _quietest(sound: FloatArray) -> int:
    """The sample in the middle of the quietest moment near the end."""
    step = round(_STEP_S * SAMPLE_RATE_HZ)
    first = sound.size - min(round(_SEARCH_S * SAMPLE_RATE_HZ), sound.size // 2)
    steps = (sound.size - first) // step
    energy = np.square(sound[first : first + steps * step]).reshape(steps, step).sum(axis=1)
    together = round(_PAUSE_S / _STEP_S)
    around = np.convolve(energy, np.ones(together, np.float32), "valid")
    at = around.size - 1 - int(np.argmin(around[::-1]))  # of equally quiet ones the last: a longer piece
    return first + at * step + together * step // 2
