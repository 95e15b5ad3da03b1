"""Picture towers of SigLIP, fixed-resolution SigLIP2 and CLIP."""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn

from resonance.export import contract
from resonance.export.architectures.common import EXACT, SIGNAL, check_type, own_projection
from resonance.export.checkpoints import Checkpoint
from resonance.export.encoders import Architecture, EncoderCard, Prepared
from resonance.export.graphs.pretrained_visual import PretrainedVisualGraph
from resonance.space.descriptor import BLOCK_WIDTH

#: Pillow's numbers of the filters a processor may ask for.
RESAMPLE_NAMES = {2: "bilinear", 3: "bicubic"}


class SiglipPictures(nn.Module):
    """fp32 [N, 3, h, w] -> [N, hidden]: the attention-pooled vector, which SigLIP compares with text."""

    def __init__(self, model: transformers.SiglipModel) -> None:
        super().__init__()
        self.vision_model = model.vision_model

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.vision_model(pixel_values=pixels).pooler_output


class ClipPictures(nn.Module):
    """fp32 [N, 3, h, w] -> [N, hidden]: CLIP's vector after its projection to the space it has with text."""

    def __init__(self, model: transformers.CLIPModel) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.visual_projection(self.vision_model(pixel_values=pixels).pooler_output)


def picture_preprocessing(checkpoint: Checkpoint, encoder_px: int) -> dict[str, Any]:
    """The arguments of PretrainedVisualGraph that the checkpoint's image processor decides.

    Raises:
        CheckpointError: the processor does something the graph cannot.
    """
    p = checkpoint.image_processor()
    size = {k: v for k, v in dict(p.size).items() if v is not None}
    resize_px = size.get("shortest_edge", size.get("height"))
    crops = bool(getattr(p, "do_center_crop", None))
    final_px = p.crop_size["height"] if crops else resize_px
    resample = RESAMPLE_NAMES.get(int(p.resample))
    if not p.do_resize:
        raise checkpoint.unusable(
            "has an image processor that does not resize (do_resize); one that does is understood"
        )
    if resize_px is None or size.get("width", resize_px) != resize_px:
        raise checkpoint.unusable(f"has an image processor of size {size}; squares are understood")
    if final_px != encoder_px:
        raise checkpoint.unusable(f"takes pictures of {encoder_px} px and its processor makes {final_px} px")
    if final_px > resize_px or (resize_px - final_px) % 2:
        raise checkpoint.unusable(f"crops {final_px} px from {resize_px} px; an even margin is understood")
    if resample is None:
        raise checkpoint.unusable(f"resizes with filter {p.resample}; 2 (bilinear) and 3 (bicubic) are known")
    return {
        "resize_px": resize_px,
        "encoder_px": encoder_px,
        "resample": resample,
        "rescale": float(p.rescale_factor) if p.do_rescale else 1.0,
        "mean": tuple(map(float, p.image_mean)) if p.do_normalize else (0.0, 0.0, 0.0),
        "std": tuple(map(float, p.image_std)) if p.do_normalize else (1.0, 1.0, 1.0),
    }


def _graph(card: EncoderCard, encoder: nn.Module, hidden: int, preprocessing: dict[str, Any]) -> nn.Module:
    graph = PretrainedVisualGraph(
        encoder, hidden=hidden, width=BLOCK_WIDTH, frame_px=contract.FRAME_PX, **preprocessing
    )
    return own_projection(graph, card)


def _prepare_siglip(card: EncoderCard, checkpoint: Checkpoint) -> Prepared:
    config = checkpoint.config()
    # A checkpoint of type siglip2 takes patches of any aspect (NaFlex), which does not export.
    check_type(checkpoint, config, ("siglip",))
    vision = config.vision_config
    preprocessing = picture_preprocessing(checkpoint, vision.image_size)

    def build() -> nn.Module:
        encoder = SiglipPictures(checkpoint.weights(transformers.SiglipModel))
        return _graph(card, encoder, vision.hidden_size, preprocessing)

    return Prepared(build, preprocessing)


def _prepare_clip(card: EncoderCard, checkpoint: Checkpoint) -> Prepared:
    config = checkpoint.config()
    check_type(checkpoint, config, ("clip",))
    preprocessing = picture_preprocessing(checkpoint, config.vision_config.image_size)

    def build() -> nn.Module:
        encoder = ClipPictures(checkpoint.weights(transformers.CLIPModel))
        return _graph(card, encoder, config.projection_dim, preprocessing)

    return Prepared(build, preprocessing)


_ARGUMENTS = ("frames", "frame_mask", "frame_times")
_TOLERANCE = {"VISUAL": EXACT, "VISUAL_SIGNALS": SIGNAL}

SIGLIP = Architecture("visual_encoder", _ARGUMENTS, _prepare_siglip, _TOLERANCE)
CLIP = Architecture("visual_encoder", _ARGUMENTS, _prepare_clip, _TOLERANCE)
