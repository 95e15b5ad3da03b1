"""The families that can be exported, one module each; importing this registers them all."""

from resonance.export.families import pretrained, tiny

__all__ = ["pretrained", "tiny"]
