"""The front door: a typed gRPC service before a Triton."""
