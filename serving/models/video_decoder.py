"""The model `video_decoder`: CLIP uint8 [1, n] -> FRAMES, FRAME_MASK, FRAME_TIMES.

PyAV decodes on the CPU. Where the server runs the model `keyframe_decoder` as well (`resonance serve
--decoder dali`), streams that it knows go there, and PyAV gets the rest.
"""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from resonance.clients.media.clip import check_clip, clip_from_bytes, decode_packets, pack_clip
from resonance.clients.media.types import ByteArray, Clip
from resonance.serving.decoder import DALI_MODEL, DECODER_VARIABLE, Decoder
from resonance.serving.keyframes.remote import DecoderGoneError, RemoteDecoder
from resonance.serving.models.common import answer_each, descriptor_beside

#: What Triton says of a model that is not there. Its code does not tell: between models of one server
#: Triton 2.51 turns every code into INTERNAL.
GONE = re.compile("not healthy|unhealthy|not ready|not found|unknown model")
#: Keyframes of a clip that are decoded side by side: most windows have up to four, and wait for the last.
THREADS = 4


class TritonPythonModel:
    """Decodes the keyframes of a clip, each alone, and scales them to the space's geometry."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the geometry of the space and the decoder to use."""
        self._geometry = descriptor_beside(args).frames
        self._dali: RemoteDecoder | None = None
        if os.environ.get(DECODER_VARIABLE) == Decoder.DALI:
            parameters = json.loads(args["model_config"]).get("parameters", {})
            codecs = parameters["dali_codecs"]["string_value"].split(",")
            self._dali = RemoteDecoder(ask_dali, frozenset(codecs))
        self._keyframes = _Counter()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keyframes")

    def finalize(self) -> None:
        """Give the metrics back while the stub can still do so: later that ends it with signal 11."""
        self._threads.shutdown()
        del self._keyframes

    def execute(self, requests: list[Any]) -> list[Any]:
        """See the module. A clip that yields no frame is refused: its window must be decoded in order."""
        return answer_each(requests, self._frames, "video_decoder")

    def _frames(self, request: Any) -> list[Any]:
        clips = pb_utils.get_input_tensor_by_name(request, "CLIP").as_numpy()  # (B, n)
        if clips.shape[0] != 1:
            raise ValueError(f"CLIP has batch {clips.shape[0]}; expected 1, clips differ in length")
        clip = clip_from_bytes(clips[0].tobytes())
        check_clip(clip)
        frames = pack_clip(clip, self._pictures(clip))
        return [
            pb_utils.Tensor("FRAMES", np.ascontiguousarray(frames.pixels[None])),
            pb_utils.Tensor("FRAME_MASK", frames.mask[None]),
            pb_utils.Tensor("FRAME_TIMES", frames.times_s[None].astype(np.float32)),
        ]

    def _pictures(self, clip: Clip) -> list[ByteArray | None]:
        """One entry a packet, None where it holds no picture."""
        pictures: list[ByteArray | None] = [None] * len(clip.packets)
        if self._dali:
            pictures = self._dali.pictures(clip)
        left = [place for place, picture in enumerate(pictures) if picture is None]
        # a decoder a thread, each with every so many packets
        shares = [share for first in range(THREADS) if (share := left[first::THREADS])]
        for share, found in zip(shares, self._threads.map(partial(self._decoded, clip), shares), strict=True):
            for place, picture in zip(share, found, strict=True):
                pictures[place] = picture
        empty = [place for place in left if pictures[place] is None]
        if 0 < len(empty) < len(left):  # what a decoder has to know may stand in one of the packets alone
            for place, picture in zip(left, self._decoded(clip, left), strict=True):
                pictures[place] = picture
        self._keyframes.add("dali", len(pictures) - len(left))
        self._keyframes.add("pyav", len(left))
        return pictures

    def _decoded(self, clip: Clip, places: list[int]) -> list[ByteArray | None]:
        """The pictures of some of a clip's packets."""
        chosen = replace(clip, packets=tuple(clip.packets[place] for place in places))
        return decode_packets(chosen, self._geometry)


def ask_dali(files: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Files uint8 [N, n] and matrices fp32 [N, 3, 3] through `keyframe_decoder`: uint8 [N, H, W, 3].

    Raises:
        ValueError: it refused the batch. DecoderGoneError: it is not there, or died over it.
    """
    request = pb_utils.InferenceRequest(
        model_name=DALI_MODEL,
        requested_output_names=["PICTURE"],
        inputs=[pb_utils.Tensor("ENCODED", files), pb_utils.Tensor("COLOUR", colour)],
    )
    try:
        response = request.exec()
    except Exception as error:  # Triton's own, without a type of its own
        raise DecoderGoneError(str(error)) from error
    if response.has_error():
        told = response.error().message()
        raise DecoderGoneError(told) if GONE.search(told) else ValueError(told)
    picture = pb_utils.get_output_tensor_by_name(response, "PICTURE")
    if not picture.is_cpu():
        raise DecoderGoneError("PICTURE came back on the GPU; expected host memory")
    return picture.as_numpy()


class _Counter:
    """Keyframes decoded, by decoder, at the metrics port."""

    def __init__(self) -> None:
        family = pb_utils.MetricFamily(
            name="resonance_keyframes_total",
            description="Keyframe packets decoded, or found to hold no picture, by decoder",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        self._family = family  # metrics go with their family
        self._by_decoder = {name: family.Metric(labels={"decoder": name}) for name in ("dali", "pyav")}

    def add(self, decoder: str, count: int) -> None:
        if count:
            self._by_decoder[decoder].increment(count)
