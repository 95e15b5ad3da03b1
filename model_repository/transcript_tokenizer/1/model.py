"""Triton loads this file; the model stands in resonance.serving.models.transcript_tokenizer."""

from resonance.serving.models.transcript_tokenizer import TritonPythonModel

__all__ = ["TritonPythonModel"]
