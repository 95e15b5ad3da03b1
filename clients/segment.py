"""One segment through the server: a request for each modality it has, then its absent blocks inferred."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resonance.clients.axes import segment_axes
from resonance.clients.errors import RequestRejectedError
from resonance.clients.media.clip import NO_FRAMES, clip_to_bytes
from resonance.clients.media.types import Clip, Frames, Pcm, SampledBy, SegmentInput
from resonance.clients.results import Segment, Vector
from resonance.clients.signals import segment_signals
from resonance.clients.title import complete_segment
from resonance.clients.transport import Transport
from resonance.space.axes import AxisMeter
from resonance.space.descriptor import BLOCK_WIDTH, Descriptor


def frames_tensors(frames: Frames) -> dict[str, NDArray[Any]]:
    """As the visual encoder takes them, with a batch axis of 1."""
    return {
        "FRAMES": frames.pixels[None],
        "FRAME_MASK": frames.mask[None],
        "FRAME_TIMES": frames.times_s[None],
    }


def pcm_tensors(pcm: Pcm) -> dict[str, NDArray[Any]]:
    """As the audio encoder takes it, with a batch axis of 1."""
    return {"PCM": pcm.samples[None], "PCM_LENGTH": np.array([[pcm.length]], np.int64)}


class Redecoder(Protocol):
    """Decodes a segment's pictures in order, where its keyframes decode to nothing."""

    async def decode_segment(self, segment: SegmentInput) -> Frames | None:
        """The segment's frames, or None where there are none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """What one modality's ensemble said: block float32 [596] and its signals."""

    block: Vector
    signals: Vector | None = None


class SegmentEncoder:
    """Embeds segments of one title.

    Args:
        redecoder: asked when the server finds no frame in a clip.
        timeout_s: deadline of each request.
    """

    def __init__(
        self, transport: Transport, descriptor: Descriptor, redecoder: Redecoder | None, *, timeout_s: float
    ) -> None:
        self._transport = transport
        self._descriptor = descriptor
        self._meter = AxisMeter(descriptor.axes)
        self._redecoder = redecoder
        self._timeout_s = timeout_s
        self.inference_s = 0.0

    async def encode(self, given: SegmentInput) -> Segment | None:
        """The segment embedded; None where its pictures decode to nothing and it has nothing else.

        Raises:
            ServerError, RequestRejectedError: see `resonance.clients.errors`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                pictures = group.create_task(self._pictures(given))
                sound = group.create_task(self._sound(given.pcm)) if given.pcm is not None else None
                words = group.create_task(self._words(given.text)) if given.text is not None else None
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        visual, given = pictures.result()
        audio = sound.result() if sound else None
        encoded = (visual, audio, words.result() if words else None)
        present = (visual is not None, audio is not None, encoded[2] is not None)
        if not any(present):
            return None

        blocks = np.zeros((3, BLOCK_WIDTH), np.float32)
        for row, e in enumerate(encoded):
            if e is not None:
                blocks[row] = e.block
        started = time.monotonic()
        vector = await complete_segment(self._transport, blocks, present, timeout_s=self._timeout_s)
        self.inference_s += time.monotonic() - started
        return Segment(
            index=given.index,
            start_s=given.start_s,
            end_s=given.end_s,
            present=present,
            vector=vector,
            signals=segment_signals(
                given,
                self._descriptor,
                visual.signals if visual else None,
                audio.signals if audio else None,
            ),
            sampled_by=given.sampled_by,
            frame_times_s=given.frame_times_s,
            axes=segment_axes(self._meter, vector, present),
        )

    async def _pictures(self, given: SegmentInput) -> tuple[_Encoded | None, SegmentInput]:
        """The visual block, and the segment as it was really sampled."""
        video = given.video
        if isinstance(video, Clip):
            try:
                return await self._clip(video), given
            except RequestRejectedError as rejected:
                if NO_FRAMES not in str(rejected) or self._redecoder is None:
                    raise
            video, given = await self._decode_again(given, self._redecoder)
        if video is None:
            return None, given
        answer = await self._infer("visual_encoder", frames_tensors(video), ("VISUAL", "VISUAL_SIGNALS"))
        return _Encoded(answer["VISUAL"][0], answer["VISUAL_SIGNALS"][0]), given

    async def _clip(self, clip: Clip) -> _Encoded:
        payload = np.frombuffer(clip_to_bytes(clip), np.uint8)[None]  # (1, bytes)
        answer = await self._infer("visual_embedding", {"CLIP": payload}, ("VISUAL", "VISUAL_SIGNALS"))
        return _Encoded(answer["VISUAL"][0], answer["VISUAL_SIGNALS"][0])

    @staticmethod
    async def _decode_again(given: SegmentInput, redecoder: Redecoder) -> tuple[Frames | None, SegmentInput]:
        frames = await redecoder.decode_segment(given)
        if frames is None:
            return None, replace(given, video=None, sampled_by=SampledBy.NONE, frame_times_s=())
        start_s = given.start_s or 0.0
        times_s = tuple(start_s + float(t) for t in frames.times_s[frames.mask])
        return frames, replace(given, video=frames, sampled_by=SampledBy.DECODED, frame_times_s=times_s)

    async def _sound(self, pcm: Pcm) -> _Encoded:
        answer = await self._infer("audio_encoder", pcm_tensors(pcm), ("AUDIO", "AUDIO_SIGNALS"))
        return _Encoded(answer["AUDIO"][0], answer["AUDIO_SIGNALS"][0])

    async def _words(self, text: str) -> _Encoded:
        payload = np.array([[text.encode()]], np.object_)
        answer = await self._infer("transcript_embedding", {"TEXT": payload}, ("TRANSCRIPT",))
        return _Encoded(answer["TRANSCRIPT"][0])

    async def _infer(
        self, model: str, inputs: dict[str, NDArray[Any]], outputs: tuple[str, ...]
    ) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        answer = await self._transport.infer(model, inputs, outputs, timeout_s=self._timeout_s)
        self.inference_s += time.monotonic() - started
        return answer
