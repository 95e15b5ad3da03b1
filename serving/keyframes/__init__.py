"""Keyframes on their way to DALI: which go there, in what container, and what becomes of those that fail."""
