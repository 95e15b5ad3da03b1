"""A library in a process and an environment of its own: batches in a loop, as a program that uses it would.

`python worker.py KIND CHECKPOINT INPUTS`; KIND is ``sentences`` (sentence-transformers; INPUTS a JSON list),
``images`` or ``pixels`` (transformers; INPUTS an .npy file, uint8 [N, 224, 224, 3]). `images` takes pictures
through the checkpoint's own image processor; `pixels` scales and normalises them with torch, which is less
work. The file stands alone: the environment has nothing of ours.

It answers a line of JSON on stdin with one on stdout:

- ``{"batch": 8, "seconds": 3.0}``: that many at a time for so long ->
  ``{"items": …, "wall_s": …, "cpu_s": …, "batches_s": […]}``
- ``{"vectors": 64, "path": "x.npy"}``: of the first inputs, one at a time, fp32 [64, hidden] -> ``{}``
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

Encode = Callable[[Sequence[Any]], np.ndarray]


def sentences(checkpoint: str, inputs: str) -> tuple[list[str], Encode]:
    """sentence-transformers' own `encode`, which sorts a batch by length; fp32 [B, hidden]."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(checkpoint, device="cpu")

    def encode(texts: Sequence[str]) -> np.ndarray:
        return model.encode(list(texts), batch_size=len(texts), show_progress_bar=False)

    return json.loads(Path(inputs).read_text(encoding="utf-8")), encode


def images(checkpoint: str, inputs: str) -> tuple[list[Any], Encode]:
    """Processor, then `get_image_features`; fp32 [B, hidden]."""
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
    features = _clip(checkpoint)

    def encode(pictures: Sequence[Any]) -> np.ndarray:
        return features(processor(images=list(pictures), return_tensors="pt")["pixel_values"])

    return [Image.fromarray(picture) for picture in np.load(inputs)], encode


def pixels(checkpoint: str, inputs: str) -> tuple[list[Any], Encode]:
    """The same without a processor: pictures already have the right size."""
    settings = json.loads(Path(checkpoint, "preprocessor_config.json").read_text(encoding="utf-8"))
    mean, deviation = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    features = _clip(checkpoint)

    def encode(pictures: Sequence[Any]) -> np.ndarray:
        frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # (B, 3, H, W)
        return features((frames.float() / 255 - mean) / deviation)

    return list(np.load(inputs)), encode


def _clip(checkpoint: str) -> Callable[[torch.Tensor], np.ndarray]:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(checkpoint).eval()

    def features(pixel_values: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            found = model.get_image_features(pixel_values=pixel_values)
        # transformers 5 gives an output whose pooled field is the projected vector.
        return getattr(found, "pooler_output", found).numpy()

    return features


def measure(inputs: Sequence[Any], encode: Encode, batch: int, seconds: float) -> dict[str, Any]:
    """Encode `batch` at a time until `seconds` are over; the last batch is counted whole."""
    batches_s, at = [], 0
    started, cpu = time.perf_counter(), time.process_time()
    while (begun := time.perf_counter()) < started + seconds:
        encode([inputs[(at + i) % len(inputs)] for i in range(batch)])
        batches_s.append(time.perf_counter() - begun)
        at += batch
    return {
        "items": at,
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "batches_s": batches_s,
    }


def main() -> None:
    """Serve requests until stdin ends."""
    kind, checkpoint, path = sys.argv[1:]
    replies, sys.stdout = sys.stdout, sys.stderr  # libraries print; the pipe is ours
    inputs, encode = {"sentences": sentences, "images": images, "pixels": pixels}[kind](checkpoint, path)
    encode(inputs[:1])
    print(json.dumps({"threads": torch.get_num_threads()}), file=replies, flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        if "vectors" in wanted:
            np.save(wanted["path"], np.concatenate([encode([x]) for x in inputs[: wanted["vectors"]]]))
            reply: dict[str, Any] = {}
        else:
            reply = measure(inputs, encode, wanted["batch"], wanted["seconds"])
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
