"""One command that measures the GPU path on any machine with an NVIDIA GPU and PyTorch."""
