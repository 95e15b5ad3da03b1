"""Segments as messages: written by the process, and read back by the gateway, which believes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from resonance.clients.media.clip import VIDEO_CODECS
from resonance.clients.media.picture import FULL_RANGE
from resonance.clients.media.types import (
    Clip,
    Frames,
    MediaInfo,
    Packet,
    Pcm,
    SampledBy,
    SegmentInput,
    StreamSignal,
)
from resonance.serving.gateway.reading.wire import Message, WireError
from resonance.space.descriptor import Descriptor

Part = bytes | memoryview
MAX_WORD_CHARACTERS, MAX_INDEX = 200, 2**31


def write_segment(segment: SegmentInput) -> tuple[list[Part], dict[str, Any]]:
    """(parts, fields) of a segment."""
    parts: list[Part] = []
    fields: dict[str, Any] = {
        "index": segment.index,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "sampled_by": str(segment.sampled_by),
        "frame_times_s": segment.frame_times_s,
        "words_per_second": segment.words_per_second,
        "text": segment.text is not None,
        "pcm_length": segment.pcm.length if segment.pcm else None,
        "video": None,
    }
    for name in ("cut_rate_per_min", "motion"):
        signal: StreamSignal | None = getattr(segment, name)
        fields[name] = [signal.value, signal.method, signal.confidence] if signal else None
    if segment.text is not None:
        parts.append(segment.text.encode("utf-8", "replace"))
    if segment.pcm is not None:
        parts.append(segment.pcm.samples.tobytes())
    if isinstance(segment.video, Clip):
        fields["video"] = _write_clip(segment.video, parts)
    elif segment.video is not None:
        fields["video"] = write_frames(segment.video, parts)
    return parts, fields


def _write_clip(clip: Clip, parts: list[Part]) -> dict[str, Any]:
    parts.append(clip.extradata)
    parts.extend(packet.data for packet in clip.packets)
    return {
        "codec": clip.codec,
        "size": [clip.width_px, clip.height_px],
        "rotation_deg": clip.rotation_deg,
        "mirrored": clip.mirrored,
        "sample_aspect": clip.sample_aspect,
        "times_s": [packet.time_s for packet in clip.packets],
        "frame_bucket": clip.frame_bucket,
        "pixel_format": clip.pixel_format,
        "colour_matrix": clip.colour_matrix,
        "colour_range": clip.colour_range,
    }


def write_frames(frames: Frames, parts: list[Part]) -> int:
    """Put the arrays to `parts`; how many frames there are, padding included."""
    parts += [frames.pixels.tobytes(), frames.mask.tobytes(), frames.times_s.tobytes()]
    return int(frames.mask.size)


@dataclass(slots=True)
class SegmentCheck:
    """Reads segments and answers of one process; `first_index`: of the first segment that may come.

    Raises:
        WireError: from every method, for what cannot be a segment of this space.
    """

    descriptor: Descriptor
    first_index: int

    def info(self, message: Message, name: str) -> MediaInfo:
        """What is known of the media."""
        fields = message.fields
        return MediaInfo(
            name=name,
            container=_word(fields.get("container"), "container"),
            duration_s=_number_or_none(fields.get("duration_s"), "duration_s"),
            codecs=_words(fields.get("codecs"), "codecs"),
            left_out=_words(fields.get("left_out"), "left_out"),
        )

    def segment(self, message: Message) -> SegmentInput:
        """The next segment."""
        fields, parts = message.fields, list(message.parts)
        index = _whole(fields.get("index"), "index", self.first_index, MAX_INDEX)
        start_s = _number_or_none(fields.get("start_s"), "start_s")
        end_s = _number_or_none(fields.get("end_s"), "end_s")
        if (start_s is None) != (end_s is None):
            raise WireError("start_s")
        text = self._text(parts) if fields.get("text") is True else None
        length = fields.get("pcm_length")
        pcm = self._pcm(length, parts) if length is not None else None
        video = fields.get("video")
        shown: Clip | Frames | None = None
        if isinstance(video, dict):
            shown = self._clip(video, parts)
        elif video is not None:
            shown = self._frames(video, parts)
        if parts or (shown is None and pcm is None and text is None):
            raise WireError("content")
        segment = SegmentInput(
            index=index,
            start_s=start_s,
            end_s=end_s,
            video=shown,
            sampled_by=_sampled_by(fields.get("sampled_by")),
            frame_times_s=_numbers(fields.get("frame_times_s"), "frame_times_s"),
            pcm=pcm,
            text=text,
            cut_rate_per_min=_signal(fields.get("cut_rate_per_min")),
            motion=_signal(fields.get("motion")),
            words_per_second=_number_or_none(fields.get("words_per_second"), "words_per_second"),
        )
        self.first_index = index + 1
        return segment

    def frames(self, message: Message) -> Frames | None:
        """The answer to a request to decode in order."""
        parts = list(message.parts)
        count = message.fields.get("count")
        frames = None if count is None else self._frames(count, parts)
        if parts:
            raise WireError("frames")
        return frames

    def _text(self, parts: list[memoryview]) -> str:
        try:
            text = bytes(_part(parts)).decode()
        except UnicodeDecodeError as error:
            raise WireError("text") from error
        return text

    def _pcm(self, length: object, parts: list[memoryview]) -> Pcm:
        size = self.descriptor.sound.window_samples
        samples = np.frombuffer(_part(parts, size * 4), np.float32)  # (window_samples,)
        if not np.isfinite(samples).all():
            raise WireError("pcm")
        return Pcm(samples, _whole(length, "pcm_length", 1, size))

    def _frames(self, count: object, parts: list[memoryview]) -> Frames:
        sampling, geometry = self.descriptor.sampling, self.descriptor.frames
        buckets = (sampling.image_frames, sampling.keyframes_frames, sampling.uniform_frames)
        if type(count) is not int or count not in buckets:
            raise WireError("frames")
        shape = (count, geometry.height, geometry.width, 3)
        pixels = np.frombuffer(_part(parts, math.prod(shape)), np.uint8).reshape(shape)
        mask = np.frombuffer(_part(parts, count), np.uint8)
        times = np.frombuffer(_part(parts, count * 4), np.float32)
        if mask.max() > 1 or not mask.any() or not np.isfinite(times).all():
            raise WireError("frames")
        return Frames(pixels, mask.view(np.bool_), times)

    def _clip(self, video: dict[str, Any], parts: list[memoryview]) -> Clip:
        times_s = _numbers(video.get("times_s"), "times_s")
        bucket = self.descriptor.sampling.keyframes_frames
        codec = video.get("codec")
        if (
            codec not in VIDEO_CODECS
            or not 1 <= len(times_s) <= bucket
            or video.get("frame_bucket") != bucket
        ):
            raise WireError("clip")
        width, height = _pair(video.get("size"), "size")
        rotation_deg = _whole(video.get("rotation_deg"), "rotation_deg", 0, 270)
        if rotation_deg % 90:
            raise WireError("rotation_deg")
        mirrored = video.get("mirrored")
        if type(mirrored) is not bool:
            raise WireError("mirrored")
        extradata = bytes(_part(parts))
        pixel_format = video.get("pixel_format")
        return Clip(
            codec=codec,
            extradata=extradata,
            width_px=width,
            height_px=height,
            rotation_deg=rotation_deg,
            sample_aspect=_pair(video.get("sample_aspect"), "sample_aspect"),
            packets=tuple(Packet(time_s, bytes(_part(parts))) for time_s in times_s),
            frame_bucket=bucket,
            pixel_format=_word(pixel_format, "pixel_format") if pixel_format else "",
            colour_matrix=_whole(video.get("colour_matrix"), "colour_matrix", 0, 255),
            colour_range=_whole(video.get("colour_range"), "colour_range", 0, FULL_RANGE),
            mirrored=mirrored,
        )


def _part(parts: list[memoryview], size_bytes: int | None = None) -> memoryview:
    if not parts or (size_bytes is not None and len(parts[0]) != size_bytes):
        raise WireError("a part of another size")
    return parts.pop(0)


def _whole(value: object, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError(name)
    return value


def _pair(value: object, name: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise WireError(name)
    return _whole(value[0], name, 0, MAX_INDEX), _whole(value[1], name, 0, MAX_INDEX)


def _number_or_none(value: object, name: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise WireError(name)
    return float(value)  # type: ignore[arg-type]


def _numbers(value: object, name: str) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > 64:
        raise WireError(name)
    numbers = tuple(_number_or_none(item, name) for item in value)
    if None in numbers:
        raise WireError(name)
    return numbers  # type: ignore[return-value]


def _word(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_WORD_CHARACTERS or not value.isprintable():
        raise WireError(name)
    return value


def _words(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 8:
        raise WireError(name)
    return {_word(key, name): _word(word, name) for key, word in value.items()}


def _sampled_by(value: object) -> SampledBy:
    if not isinstance(value, str) or value not in SampledBy.__members__.values():
        raise WireError("sampled_by")
    return SampledBy(value)


def _signal(value: object) -> StreamSignal | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3:
        raise WireError("signal")
    number, confidence = _numbers([value[0], value[2]], "signal")
    return StreamSignal(number, _word(value[1], "signal"), confidence)
