"""What the descriptors of all families have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from resonance.export import contract
from resonance.export.cards import GraphCard
from resonance.space.descriptor import (
    BLOCK_WIDTH,
    MODALITIES,
    SCHEMA_VERSION,
    Blocks,
    Descriptor,
    EncoderSource,
    FrameGeometry,
    Fusion,
    Sampling,
    Segmenting,
    SignalSpec,
    Sound,
    Transcript,
)

WINDOW_S = 8.0


def describe_space(
    name: str,
    graphs: Iterable[GraphCard],
    weights: Mapping[str, str],
    *,
    transcript: Transcript,
    text_tokens: int,
    trained: bool = False,
) -> Descriptor:
    """The descriptor of a family.

    Args:
        weights: sha256 of each graph's weights, by model name.
        text_tokens: at most so many UTF-8 bytes and two special tokens make a piece of text without a
            clock; must keep every piece within `transcript.max_tokens`.
    """
    encoders = {
        graph.model: EncoderSource(
            source=graph.source,
            licence=graph.licence,
            weights_sha256=weights[graph.model],
            preprocessing=graph.preprocessing,
        )
        for graph in graphs
    }
    return Descriptor(
        schema_version=SCHEMA_VERSION,
        name=name,
        trained=trained,
        blocks=Blocks(width=BLOCK_WIDTH, order=MODALITIES),
        segment=Segmenting(length_s=WINDOW_S, min_tail_s=1.0, text_tokens=text_tokens),
        frames=FrameGeometry(
            width=contract.FRAME_PX,
            height=contract.FRAME_PX,
            resize="stretch",
            interpolation="bilinear",
            colour_matrix="stream",
        ),
        sampling=Sampling(
            default="keyframes",
            image_frames=1,
            keyframes_frames=4,
            uniform_frames=16,
            uniform_fps=2.0,
            borrow_within_s=4.0,
        ),
        sound=Sound(
            sample_rate_hz=round(contract.WINDOW_SAMPLES / WINDOW_S),
            window_samples=contract.WINDOW_SAMPLES,
            resampler="libswresample",
            silence_dbfs=-70.0,
        ),
        transcript=transcript,
        fusion=Fusion(
            max_segments=1024,
            absent_blocks="normalised mean of the present blocks plus a learned correction",
            pooling="attention over time and modalities",
        ),
        encoders=encoders,
        # Calibrated on a reference set once the space is trained; 1 leaves scores as plain cosines.
        sigmas={query: dict.fromkeys(MODALITIES, 1.0) for query in MODALITIES},
        signals={
            "visual": tuple(SignalSpec(*s) for s in contract.VISUAL_SIGNALS),
            "audio": tuple(SignalSpec(*s) for s in contract.AUDIO_SIGNALS),
        },
    )
