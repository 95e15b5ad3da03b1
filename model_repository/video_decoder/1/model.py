"""Triton loads this file; the model stands in resonance.serving.models.video_decoder."""

from resonance.serving.models.video_decoder import TritonPythonModel

__all__ = ["TritonPythonModel"]
