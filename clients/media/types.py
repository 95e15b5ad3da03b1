"""What the media readers hand to the embedder: one `SegmentInput` for every window with content."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


class SampledBy(StrEnum):
    """How a segment's frames were really chosen; stands with each segment."""

    KEYFRAMES = "keyframes"
    BORROWED = "borrowed"  # of another window: the nearest keyframe within reach or a picture that stands
    DECODED = "decoded"  # no keyframe within reach; the stretch was decoded in order
    UNIFORM = "uniform"
    IMAGE = "image"
    NONE = "none"  # no picture in this segment


@dataclass(frozen=True, slots=True)
class Packet:
    """One keyframe packet. `time_s` is seconds from the segment's start (outside it when borrowed)."""

    time_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Clip:
    """Undecoded keyframes of one segment for the server's `video_decoder`; proto/resonance/v1/clip.proto."""

    codec: str
    extradata: bytes
    width_px: int
    height_px: int
    rotation_deg: int
    sample_aspect: tuple[int, int]
    packets: tuple[Packet, ...]
    frame_bucket: int
    pixel_format: str = ""
    colour_matrix: int = 2
    colour_range: int = 0
    mirrored: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Decoded frames, padded to their bucket.

    pixels: uint8 RGB [T, height, width, 3]; mask: bool [T], False for padding;
    times_s: float32 [T], seconds from the segment's start (0 for padding).
    """

    pixels: ByteArray
    mask: NDArray[np.bool_]
    times_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Pcm:
    """Mono sound of one segment. samples: float32 [window_samples], zero after `length` valid samples."""

    samples: FloatArray
    length: int


@dataclass(frozen=True, slots=True)
class StreamSignal:
    """A value read off the stream without decoding. `confidence` in [0, 1]; `method` names how."""

    value: float
    method: str
    confidence: float


@dataclass(frozen=True, slots=True)
class SegmentInput:
    """One window of a title. At least one of `video`, `pcm`, `text` is there.

    `start_s` and `end_s` count from the title's earliest stream start; both are None for text without a
    clock. `pcm` is None where there is no sound or it lies below the silence threshold.
    `cut_rate_per_min` and `motion` are None where the stream cannot tell.
    """

    index: int
    start_s: float | None
    end_s: float | None
    video: Clip | Frames | None = None
    sampled_by: SampledBy = SampledBy.NONE
    frame_times_s: tuple[float, ...] = ()
    pcm: Pcm | None = None
    text: str | None = None
    cut_rate_per_min: StreamSignal | None = None
    motion: StreamSignal | None = None
    words_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that keep one hostile file from taking the client down.

    max_picture_pixels: largest still picture decoded; max_video_pixels: largest coded picture of a video, or
    frame of an animation; stall_timeout_s: longest time without a packet, frame or sample, and for a still
    picture some more by its pixels; max_spool_bytes: largest input that is not seekable and must be copied
    to a temporary file first; max_media_s: time of the last packets, so that a small file cannot claim years
    that have to be walked through; None: any.
    """

    max_picture_pixels: int = 128 * 1024 * 1024
    max_video_pixels: int = 64 * 1024 * 1024
    stall_timeout_s: float = 8.0
    max_spool_bytes: int = 8 * 1024**3
    max_media_s: float | None = None


@dataclass(slots=True)
class ReadTimes:
    """Seconds the reader has spent so far, by stage; readers add to it while they work."""

    demux_s: float = 0.0
    decode_s: float = 0.0
    #: Packets and frames handled so far; a reader whose count stands still has stalled.
    steps: int = 0
    #: Packets, or frames of an animation, that could not be decoded, and streams that broke off early.
    broken: int = 0
    #: Seconds before the end that the container states of which nothing was there; known once all is read.
    missing_s: float = 0.0
    #: Of a live feed of frames, sound and cues: what came after its windows were complete.
    late_frames: int = 0
    late_sound_s: float = 0.0
    late_cues: int = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """What of a medium could not be read or came too late; it is in no vector.

    unreadable_packets: packets, or frames of an animation, that could not be decoded, and streams that broke
    off.
    missing_s: seconds before the end that its container states of which nothing was there, as of a file that
    was cut off.
    late_frames, late_sound_s, late_cues: of a live feed of frames, sound and cues, what came after its
    windows were complete; of a cue that reaches into later ones, those have it.
    """

    unreadable_packets: int = 0
    missing_s: float = 0.0
    late_frames: int = 0
    late_sound_s: float = 0.0
    late_cues: int = 0

    @classmethod
    def of(cls, times: ReadTimes) -> Damage:
        """What its reader met so far."""
        return cls(times.broken, times.missing_s, times.late_frames, times.late_sound_s, times.late_cues)

    def remarks(self, name: str) -> list[str]:
        """What is to be told of the vectors of the medium `name`, a line each."""
        found = []
        if self.unreadable_packets:
            packets = "a packet" if self.unreadable_packets == 1 else f"{self.unreadable_packets:,} packets"
            found.append(f"{name}: {packets} of it could not be read; what they held is in no vector")
        if self.missing_s:
            found.append(f"{name}: its last {self.missing_s:,.1f} s are not there, as if it were cut off")
        if self.late_frames or self.late_sound_s or self.late_cues:
            late = (
                f"{self.late_frames:,} frames, {self.late_sound_s:,.1f} s of sound, {self.late_cues:,} cues"
            )
            found.append(f"{name}: {late} came after their windows were complete, and are left out there")
        return found


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known before the first segment. `duration_s` is the container's claim, or None.

    codecs: by stream, such as ``video``. left_out: those of streams that are there and cannot be read here.
    """

    name: str
    container: str
    duration_s: float | None
    codecs: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def remarks(self) -> list[str]:
        """What is to be told of the vectors, a line each."""
        return [
            f"{self.name}: its {kind} in '{codec}' is left out: it cannot be read here"
            for kind, codec in self.left_out.items()
        ]
