"""Contract 4: the models that Triton serves and their tensors, whatever family fills them.

Export, validation and the Triton configs are all derived from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from resonance.space.descriptor import BLOCK_WIDTH, TITLE_WIDTH

#: What a repository says of its space, from the repository's root.
DESCRIPTOR = Path("space_descriptor", "1", "space.json")
FRAME_PX = 224
WINDOW_SAMPLES = 128_000
VISUAL_SIGNALS = (
    ("brightness", "luma 0..1"),
    ("colourfulness", "Hasler-Suesstrunk M"),
    ("frame_change_per_s", "luma 0..1 per second"),
    ("frame_cut_rate_per_min", "1/min"),
)
AUDIO_SIGNALS = (
    ("loudness_dbfs", "dBFS"),
    ("spectral_centroid_hz", "Hz"),
    ("onset_rate_hz", "1/s"),
)


class Dtype(StrEnum):
    """Element types in use, by their numpy names."""

    UINT8 = "uint8"
    BOOL = "bool"
    INT64 = "int64"
    FP32 = "float32"
    BYTES = "object"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. `axes` leaves out the batch axis; a name stands for a variable length."""

    name: str
    dtype: Dtype
    axes: tuple[int | str, ...]


class Runs(StrEnum):
    """What executes a model."""

    GRAPH = "graph"  # exported: ONNX on the CPU, a TensorRT plan on the GPU
    PYTHON = "python"  # a Python model in model_repository/<name>/1/model.py
    DALI = "dali"  # a DALI pipeline in model_repository/<name>/1/dali.py


@dataclass(frozen=True, slots=True)
class Model:
    """One Triton model. `max_batch_size` 0 means that the tensors have no batch axis."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    runs: Runs
    max_batch_size: int = 64
    cpu_instances: int = 1
    #: Of a Python model where its encoders run on a GPU, which wait for it; None: as on the CPU.
    gpu_server_instances: int | None = None
    dynamic_batching: bool = False
    #: Runs side by side in an instance on the CPU. They share the weights; but what Triton hands over
    #: together is answered together: where runs differ in length, as texts do, instances keep cores busier.
    cpu_parallel_runs: int = 1
    #: Requests that may share a run of the graph on the CPU, where that makes each cheaper. With 1 an answer
    #: is its own request's, bit for bit; above, the graph must see to that (`graphs.pooling.projected`).
    cpu_requests_per_run: int = 1
    #: The most numbers of a run's largest input; what is larger runs alone. None: no bound.
    cpu_numbers_per_run: int | None = None
    #: Lengths of named axes for warm-up requests and for the shapes an export is checked at.
    example_axes: tuple[tuple[str, int], ...] = ()
    #: Optimisation profiles of its TensorRT plan. Triton's config names each, and one config serves every
    #: family, so the number is fixed here, whatever buckets a family has.
    gpu_profiles: int = 1

    def tensor(self, name: str) -> Tensor:
        """The input or output called `name`."""
        return next(t for t in (*self.inputs, *self.outputs) if t.name == name)


FRAMES = Tensor("FRAMES", Dtype.UINT8, ("frames", FRAME_PX, FRAME_PX, 3))
FRAME_MASK = Tensor("FRAME_MASK", Dtype.BOOL, ("frames",))
FRAME_TIMES = Tensor("FRAME_TIMES", Dtype.FP32, ("frames",))
PCM = Tensor("PCM", Dtype.FP32, (WINDOW_SAMPLES,))
PCM_LENGTH = Tensor("PCM_LENGTH", Dtype.INT64, (1,))
CLIP = Tensor("CLIP", Dtype.UINT8, ("bytes",))
TEXT = Tensor("TEXT", Dtype.BYTES, (1,))
IDS = Tensor("IDS", Dtype.INT64, ("tokens",))
MASK = Tensor("MASK", Dtype.INT64, ("tokens",))
VISUAL = Tensor("VISUAL", Dtype.FP32, (BLOCK_WIDTH,))
AUDIO = Tensor("AUDIO", Dtype.FP32, (BLOCK_WIDTH,))
TRANSCRIPT = Tensor("TRANSCRIPT", Dtype.FP32, (BLOCK_WIDTH,))
VISUAL_SIGNAL_VALUES = Tensor("VISUAL_SIGNALS", Dtype.FP32, (len(VISUAL_SIGNALS),))
AUDIO_SIGNAL_VALUES = Tensor("AUDIO_SIGNALS", Dtype.FP32, (len(AUDIO_SIGNALS),))

MODELS = (
    Model(
        "video_decoder",
        (CLIP,),
        (FRAMES, FRAME_MASK, FRAME_TIMES),
        Runs.PYTHON,
        cpu_instances=2,
        # Each has one clip at a time, of four keyframes at most in most windows: 16 keyframes are under way,
        # about as many as there are cores to a GPU, and as a run of DALI's takes.
        gpu_server_instances=4,
    ),
    Model(
        "keyframe_decoder",  # what `video_decoder` sends to DALI; loaded with `--decoder dali` alone
        (
            Tensor("ENCODED", Dtype.UINT8, ("bytes",)),
            Tensor("COLOUR", Dtype.FP32, (3, 3)),
        ),
        (Tensor("PICTURE", Dtype.UINT8, (FRAME_PX, FRAME_PX, 3)),),
        Runs.DALI,
        dynamic_batching=True,
    ),
    Model(
        "visual_encoder",
        (FRAMES, FRAME_MASK, FRAME_TIMES),
        (VISUAL, VISUAL_SIGNAL_VALUES),
        Runs.GRAPH,
        dynamic_batching=True,
        cpu_parallel_runs=2,
        cpu_requests_per_run=4,
        # single pictures are cheaper together (1.3 times for ViT-B/32), windows of 4 frames are not
        cpu_numbers_per_run=4 * FRAME_PX * FRAME_PX * 3,
        example_axes=(("frames", 4),),
        gpu_profiles=3,  # 1, 4 and 16 frames
    ),
    Model(
        "audio_encoder",
        (PCM, PCM_LENGTH),
        (AUDIO, AUDIO_SIGNAL_VALUES),
        Runs.GRAPH,
        dynamic_batching=True,
        cpu_parallel_runs=2,
    ),
    Model("transcript_tokenizer", (TEXT,), (IDS, MASK), Runs.PYTHON, dynamic_batching=True),
    Model(
        "transcript_encoder",
        (IDS, MASK),
        (TRANSCRIPT,),
        Runs.GRAPH,
        cpu_instances=2,
        dynamic_batching=True,
        cpu_requests_per_run=8,
        example_axes=(("tokens", 64),),
        gpu_profiles=4,  # 32, 64, 128 and 256 tokens where a family takes 256
    ),
    Model(
        "title_fusion",
        (
            Tensor("BLOCKS", Dtype.FP32, ("segments", 3, BLOCK_WIDTH)),
            Tensor("PRESENT", Dtype.BOOL, ("segments", 3)),
            Tensor("TIMES", Dtype.FP32, ("segments",)),
        ),
        (
            Tensor("TITLE", Dtype.FP32, (TITLE_WIDTH,)),
            Tensor("SEGMENTS", Dtype.FP32, ("segments", TITLE_WIDTH)),
            Tensor("SALIENCE", Dtype.FP32, ("segments",)),
        ),
        Runs.GRAPH,
        max_batch_size=0,
        example_axes=(("segments", 8),),
    ),
    Model(
        "space_descriptor",
        (),
        (Tensor("SPACE", Dtype.BYTES, (1,)),),
        Runs.PYTHON,
        max_batch_size=0,
    ),
)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Models run as one request; tensors connect by name."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[str, ...]


ENSEMBLES = (
    Ensemble(
        "visual_embedding",
        (CLIP,),
        (VISUAL, VISUAL_SIGNAL_VALUES, FRAME_MASK, FRAME_TIMES),
        ("video_decoder", "visual_encoder"),
    ),
    Ensemble("transcript_embedding", (TEXT,), (TRANSCRIPT,), ("transcript_tokenizer", "transcript_encoder")),
    Ensemble(
        "segment_embedding",
        (CLIP, PCM, PCM_LENGTH, TEXT),
        (VISUAL, VISUAL_SIGNAL_VALUES, AUDIO, AUDIO_SIGNAL_VALUES, TRANSCRIPT),
        ("video_decoder", "visual_encoder", "audio_encoder", "transcript_tokenizer", "transcript_encoder"),
    ),
)

#: The encoder of each modality, in the order of the space's blocks.
ENCODERS = ("visual_encoder", "audio_encoder", "transcript_encoder")


def model(name: str) -> Model:
    """The model called `name` of `MODELS`."""
    return next(m for m in MODELS if m.name == name)


GRAPHS = tuple(m for m in MODELS if m.runs is Runs.GRAPH)
