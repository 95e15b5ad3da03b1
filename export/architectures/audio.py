"""CLAP's HTSAT audio tower."""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn

from resonance.export.architectures.common import EXACT, SIGNAL, check_type, own_projection
from resonance.export.checkpoints import Checkpoint
from resonance.export.encoders import Architecture, EncoderCard, Prepared
from resonance.export.graphs.clap import ClapGraph
from resonance.space.descriptor import BLOCK_WIDTH

SAMPLE_RATE_HZ = 16_000
_PADDINGS = ("repeatpad", "repeat", "pad")


class ClapSounds(nn.Module):
    """Log-mel dB [B, 1, frames, bands] -> [B, hidden]: CLAP's vector in the space it has with text.

    In fused checkpoints sounds longer than a clip are heard through a branch of their own, and the
    reference sends one random shorter sound of every batch there too. A window here is always shorter
    than a clip, so the branch is taken out: the same as the reference with `is_longer` false.
    """

    def __init__(self, model: transformers.ClapModel) -> None:
        super().__init__()
        self.audio_model = model.audio_model
        self.audio_projection = model.audio_projection
        encoder = self.audio_model.audio_encoder
        if encoder.enable_fusion:
            encoder.enable_fusion = encoder.patch_embed.enable_fusion = False
            del encoder.patch_embed.fusion_model, encoder.patch_embed.mel_conv2d

    def forward(self, log_mel: Tensor) -> Tensor:
        """See the class."""
        return self.audio_projection(self.audio_model(input_features=log_mel).pooler_output)


def sound_preprocessing(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the descriptor says, arguments of ClapGraph), from the checkpoint's feature extractor.

    Raises:
        CheckpointError: the extractor does something the graph cannot.
    """
    e = checkpoint.feature_extractor()
    rate_hz, clip_samples = int(e.sampling_rate), int(e.nb_max_samples)
    if rate_hz % SAMPLE_RATE_HZ:
        raise checkpoint.unusable(f"hears {rate_hz} Hz; a multiple of {SAMPLE_RATE_HZ} Hz is understood")
    if e.padding not in _PADDINGS:
        raise checkpoint.unusable(f"pads by '{e.padding}'; {', '.join(_PADDINGS)} are understood")
    fused = e.truncation == "fusion"
    shared = {
        "encoder_rate_hz": rate_hz,
        "clip_samples": clip_samples,
        "window_samples": int(e.fft_window_size),
        "hop_samples": int(e.hop_length),
        "padding": str(e.padding),
    }
    described = {
        **shared,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "bands": int(e.mel_filters.shape[1]),
        "low_hz": float(e.frequency_min),
        "high_hz": float(e.frequency_max),
        "mel": "htk" if fused else "slaney",
    }
    # the reference has a filter bank for each kind of checkpoint and tells them by this setting
    filters = e.mel_filters if fused else e.mel_filters_slaney
    return described, {**shared, "sample_rate_hz": SAMPLE_RATE_HZ, "mel": filters}


def _prepare_clap(card: EncoderCard, checkpoint: Checkpoint) -> Prepared:
    config = checkpoint.config()
    check_type(checkpoint, config, ("clap",))
    audio = config.audio_config
    if audio.enable_fusion and audio.fusion_type == "channel_map":
        raise checkpoint.unusable("fuses by 'channel_map', which has no encoder without the fusion branch")
    described, arguments = sound_preprocessing(checkpoint)
    if described["bands"] != audio.num_mel_bins:
        raise checkpoint.unusable(
            f"takes {audio.num_mel_bins} mel bands and its feature extractor makes {described['bands']}"
        )

    def build() -> nn.Module:
        encoder = ClapSounds(checkpoint.weights(transformers.ClapModel))
        graph = ClapGraph(encoder, hidden=config.projection_dim, width=BLOCK_WIDTH, **arguments)
        return own_projection(graph, card)

    return Prepared(build, described)


CLAP = Architecture(
    "audio_encoder", ("pcm", "pcm_length"), _prepare_clap, {"AUDIO": EXACT, "AUDIO_SIGNALS": SIGNAL}
)
