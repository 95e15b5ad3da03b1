"""Starts and supervises a Triton Inference Server; see `resonance.serving.server.TritonServer`."""
