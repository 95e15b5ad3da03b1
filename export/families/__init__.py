"""The families that can be exported, one module each; importing this registers them all."""

from resonance.export.families import tiny

__all__ = ["tiny"]
