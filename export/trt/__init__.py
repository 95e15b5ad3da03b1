"""ONNX to TensorRT plans: precision, optimisation profiles, the build, and the check of what was built.

Only `engine` imports tensorrt; everything else runs and is tested without it.
"""
