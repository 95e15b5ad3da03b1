"""Encoders and fusion head as ONNX graphs: declarative cards, export, validation, Triton configs."""
