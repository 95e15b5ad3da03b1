"""Keyframes through the model `keyframe_decoder`, and back to PyAV for whatever it does not give."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLongError
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resonance.clients.media.picture import turned
from resonance.clients.media.types import ByteArray, Clip
from resonance.serving.keyframes.colour import correction
from resonance.serving.keyframes.containers import file_rows, keyframe_file
from resonance.serving.keyframes.routing import takes, whole_header

#: A batch of keyframe files uint8 [N, n] and colour matrices fp32 [N, 3, 3] to pictures uint8 [N, H, W, 3].
Decode = Callable[[NDArray[np.uint8], NDArray[np.float32]], ByteArray]

#: What DALI takes for a sample at once: nine frames of 3 bytes a pixel, about, of the size that it claims.
BYTES_PER_PIXEL = 27
MOST_BYTES = 2 * 1024**3  # in a request
#: Clips in a row of which it decoded nothing, though their keyframes look whole, before it is left alone: it
#: is begun anew after each, which takes long, and what is wrong is more than a clip.
MOST_REFUSED = 3


class DecoderGoneError(RuntimeError):
    """The decoder does not answer at all; what it was given may be whole."""


@dataclass(slots=True)
class RemoteDecoder:
    """Sends keyframes to DALI.

    Attributes:
        decode: what decodes a batch.
        codecs: FFmpeg's names of the codecs that DALI knows on its device.
        timeout_s: for one batch. A hung one is given up, with its thread.
        pause_s: how long everything goes to PyAV after the decoder was gone, whose process is started anew
            meanwhile, or decoded nothing of several clips in a row. The next such clip is a pause again.
        refused, failed, gone: packets turned down by their looks, refused by DALI, and not answered for.
    """

    decode: Decode
    codecs: frozenset[str]
    timeout_s: float = 20.0
    pause_s: float = 5.0
    refused: int = 0
    failed: int = 0
    gone: int = 0
    decoded: int = 0
    _paused_until_s: float = 0.0
    _refused_in_a_row: int = 0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def pictures(self, clip: Clip) -> list[ByteArray | None]:
        """One entry a packet: the picture uint8 [H, W, 3] upright, or None where PyAV is to be asked."""
        nothing: list[ByteArray | None] = [None] * len(clip.packets)
        if time.monotonic() < self._paused_until_s or not takes(clip, self.codecs):
            return nothing
        places, files = [], []
        for place, packet in enumerate(clip.packets):
            if header := whole_header(clip, packet.data):
                files.append(keyframe_file(clip, packet.data, header))
                places.append(place)
            else:
                self.refused += 1
        if not files:
            return nothing
        pictures = self._decoded(files, clip)
        self._refused_in_a_row = 0 if any(p is not None for p in pictures) else self._refused_in_a_row + 1
        if self._refused_in_a_row >= MOST_REFUSED:
            self._paused_until_s = time.monotonic() + self.pause_s
        for place, picture in zip(places, pictures, strict=True):
            if picture is not None:
                nothing[place] = turned(picture, clip.rotation_deg, mirrored=clip.mirrored)
        return nothing

    def _decoded(self, files: Sequence[bytes], clip: Clip) -> list[ByteArray | None]:
        """All files, in batches for which there is memory."""
        rows = rows_at_once(clip)
        batches = [files[first : first + rows] for first in range(0, len(files), rows)]
        return [picture for batch in batches for picture in self._batch(batch, clip)]

    def _batch(self, files: Sequence[bytes], clip: Clip) -> list[ByteArray | None]:
        """Files in one batch; if that fails, each alone, for one bad file fails its whole batch."""
        if time.monotonic() < self._paused_until_s:  # it went with a batch before this
            self.gone += len(files)
            return [None] * len(files)
        try:
            pictures = self._ask(files, clip)
        except DecoderGoneError:
            self.gone += len(files)
            self._paused_until_s = time.monotonic() + self.pause_s
            return [None] * len(files)
        except ValueError:
            if len(files) > 1:
                return [picture for file in files for picture in self._batch([file], clip)]
            self.failed += 1
            return [None]
        self.decoded += len(files)
        return list(pictures)

    def _ask(self, files: Sequence[bytes], clip: Clip) -> ByteArray:
        colour = np.repeat(
            correction(clip.codec, clip.colour_matrix, clip.height_px)[None], len(files), axis=0
        )
        answer = self._pool.submit(self.decode, file_rows(files), colour)
        try:
            return answer.result(self.timeout_s)
        except TookTooLongError as error:
            self._pool.shutdown(wait=False)
            self._pool = ThreadPoolExecutor(1)
            raise DecoderGoneError(f"no answer within {self.timeout_s:g} s") from error


def rows_at_once(clip: Clip) -> int:
    """Keyframes of `clip`'s size, 1 or more, that one request may hold."""
    return max(1, MOST_BYTES // (BYTES_PER_PIXEL * clip.width_px * clip.height_px))
