"""In infinity's environment: a checkpoint as the ONNX file that its ONNX engine looks for.

`python export_bert.py CHECKPOINT`, which writes CHECKPOINT/onnx/model.onnx. It stands alone. This version of
optimum expects the exporter that was PyTorch's default before 2.9, whose graphs onnxruntime's fusions know.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from optimum.exporters.onnx import main_export  # type: ignore[import-not-found]


def main(checkpoint: Path) -> None:
    """Export to a folder of its own: the tokenizer's files that come along would stand twice."""
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    with tempfile.TemporaryDirectory() as folder:
        main_export(str(checkpoint), folder, task="feature-extraction", library_name="transformers")
        target = checkpoint / "onnx" / "model.onnx"
        target.parent.mkdir(exist_ok=True)
        shutil.move(Path(folder, "model.onnx"), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
