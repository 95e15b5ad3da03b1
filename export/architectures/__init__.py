"""Architectures of pretrained encoders: how a checkpoint becomes a graph of the contract."""

from collections.abc import Mapping

from resonance.export.architectures import audio, text, visual
from resonance.export.encoders import Architecture

#: What an encoder card can name.
ARCHITECTURES: Mapping[str, Architecture] = {
    "siglip": visual.SIGLIP,
    "clip": visual.CLIP,
    "clap": audio.CLAP,
    "sentences": text.SENTENCES,
    "siglip-text": text.SIGLIP_TEXT,
}
