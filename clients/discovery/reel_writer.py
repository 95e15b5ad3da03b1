"""A reel as one MP4: H.264 and AAC, one size, one frame rate, one clock.

Time is counted in frames: a clip is a whole number of them, and a frame a whole number of samples of sound.
So picture and sound end together at every join, and nothing drifts however many clips there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from resonance.clients.discovery.reel_pictures import X264, EncodedClip, ReelFormat, configure
from resonance.clients.discovery.reel_sound import SOUND_RATE_HZ, Stereo, faded

SOUND_BIT_RATE = 192_000


@dataclass(frozen=True, slots=True)
class _Chapter:
    name: str
    first_frame: int
    frames: int


class ReelWriter:
    """Writes a reel clip by clip. A context manager: left without `finish`, the file is not whole.

    Args:
        path: of the MP4. title: what players show as its name.

    Attributes:
        frames: written so far.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, form: ReelFormat, title: str) -> None:
        self.frames = 0
        self._form = form
        self._chapters: list[_Chapter] = []
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        try:
            self._container.metadata["title"] = title
            video = self._container.add_stream("libx264", rate=self._form.fps, options=dict(X264))
            sound = self._container.add_stream("aac", rate=SOUND_RATE_HZ, layout="stereo")
            assert isinstance(video, VideoStream)
            assert isinstance(sound, AudioStream)
            # this encoder only says what the stream is; the clips' own, set up alike, fill it
            configure(video.codec_context, self._form)
            sound.bit_rate = SOUND_BIT_RATE
            self._video, self._sound = video, sound
            self._container.start_encoding()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / self._form.fps

    def add(self, clip: EncodedClip, sound: Stereo | None, name: str) -> None:
        """Append a clip; `sound` float32 [2, frames * samples_per_frame], None for silence. Fades its ends.

        Raises:
            ValueError: sound of another length than the pictures.
        """
        samples = clip.frames * self._form.samples_per_frame
        if sound is None:
            sound = np.zeros((2, samples), np.float32)
        if sound.shape != (2, samples):
            raise ValueError(
                f"sound of shape {sound.shape} for {clip.frames} frames; expected (2, {samples})"
            )
        base = Fraction(1, self._form.fps)
        for packet in clip.packets:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts + self.frames, packet.dts + self.frames
            packet.time_base, packet.duration, packet.stream = base, 1, self._video
            self._container.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(faded(sound, SOUND_RATE_HZ)), format="fltp", layout="stereo"
        )
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts, frame.time_base = self.frames * self._form.samples_per_frame, Fraction(1, SOUND_RATE_HZ)
        self._container.mux(self._sound.encode(frame))
        self._chapters.append(_Chapter(name, self.frames, clip.frames))
        self.frames += clip.frames

    def finish(self) -> None:
        """Complete the file, chapters too.

        Raises:
            ValueError: there is no clip.
        """
        if not self._chapters:
            raise ValueError("a reel without clips; expected at least one")
        self._container.mux(self._sound.encode(None))
        base = Fraction(1, self._form.fps)
        self._container.set_chapters(
            [
                {
                    "id": number,
                    "start": chapter.first_frame,
                    "end": chapter.first_frame + chapter.frames,
                    "time_base": base,
                    "metadata": {"title": chapter.name},
                }
                for number, chapter in enumerate(self._chapters)
            ]
        )
        self._container.close()
