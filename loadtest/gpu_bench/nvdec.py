"""The server's own DALI pipeline in this process: keyframes, a file each, to pictures on the device."""

from __future__ import annotations

import importlib.util
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resonance.loadtest.gpu_bench.dali_decode import (
    FRAME_PX,
    NAMES,
    SAME_PICTURE,
    THREADS,
    DaliDecoder,
    scaled,
)

#: Pictures a run: several for each of an H200's seven NVDEC engines, and as many of each stretch of segments.
ROWS = 48
PIPELINE = Path(__file__).resolve().parents[2] / "model_repository" / "keyframe_decoder" / "1" / "dali.py"
GEOMETRY = {"frames": {"height": FRAME_PX, "width": FRAME_PX, "interpolation": "bilinear"}}


class KeyframePictures:
    """NVDEC through DALI; with ``device`` "cpu" DALI's own decoders (VP8, VP9, MJPEG), for tests.

    A hung or broken decoder takes this process along, which on the GPU is that of one part.
    """

    def __init__(self, device: str = "mixed", rows: int = ROWS) -> None:
        self.device, self.rows = device, rows
        self.name = NAMES[device]
        self._pipeline: Any = None
        self._stream: torch.cuda.Stream | None = None

    def missing(self) -> str:
        """Why it cannot run here, or an empty text."""
        reason = DaliDecoder(self.device).missing()
        return reason or ("" if PIPELINE.is_file() else f"{PIPELINE} is missing; it comes with the sources")

    def pictures(self, files: Sequence[bytes]) -> Tensor:
        """`rows` files of one frame at most -> uint8 RGB [N, 224, 224, 3], on the device and finished.

        Raises:
            RuntimeError: DALI refuses one of them.
        """
        if self._pipeline is None:
            self._pipeline = self._built()
        self._pipeline.feed_input("ENCODED", [np.frombuffer(file, np.uint8) for file in files])
        # untagged films are read by Rec. 601 here, as PyAV reads them: nothing is to be corrected
        self._pipeline.feed_input("COLOUR", [np.eye(3, dtype=np.float32)] * len(files))
        (output,) = self._pipeline.run()  # waits for the device
        there = output.as_tensor()
        if self.device != "mixed":
            return torch.from_dlpack(there).clone()  # the next run may write to the same place
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        with torch.cuda.stream(self._stream):  # on the default one it would wait for the towers
            pictures = torch.from_dlpack(there).clone()
        self._stream.synchronize()
        return pictures

    def check(self, files: Sequence[bytes]) -> None:
        """Compare pictures with PyAV's of the same files: memory that nothing was decoded into is fast.

        Raises:
            ValueError: one of them is another picture.
        """
        got = self.pictures(files).cpu().numpy().astype(np.int16)
        expected = np.stack([pyav_picture(file) for file in files])
        difference = np.abs(got - expected).mean(axis=(1, 2, 3))
        if not difference.max() < SAME_PICTURE:
            raise ValueError(
                f"picture {difference.argmax()} of {self.name} differs from PyAV's by "
                f"{difference.max():.1f} of 255 levels; expected below {SAME_PICTURE:g}"
            )

    def _built(self) -> Any:
        specification = importlib.util.spec_from_file_location("keyframe_decoder_pipeline", PIPELINE)
        assert specification is not None
        assert specification.loader is not None
        module: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        device_id = 0 if self.device == "mixed" else None
        with tempfile.TemporaryDirectory() as folder:  # there may be no exported space here
            module.SPACE = Path(folder, "space.json")
            module.SPACE.write_text(json.dumps(GEOMETRY), encoding="utf-8")
            pipeline = module.keyframes(
                batch_size=self.rows, num_threads=THREADS, device_id=device_id, device=self.device
            )
            pipeline.build()
        return pipeline


def pyav_picture(file: bytes) -> np.ndarray:
    """The first frame of a file, uint8 RGB [224, 224, 3]."""
    import av

    container: Any
    with av.open(io.BytesIO(file)) as container:
        return scaled(next(container.decode(video=0)))
