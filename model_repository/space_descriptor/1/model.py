"""Triton loads this file; the model stands in resonance.serving.models.space_descriptor."""

from resonance.serving.models.space_descriptor import TritonPythonModel

__all__ = ["TritonPythonModel"]
