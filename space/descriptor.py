"""The space descriptor `space.json`: the one source of what a vector of this space means.

It is written by `resonance export`, served beside the models, and read by every client. Its
fingerprint covers what decides the numbers of a vector (source weights, preprocessing, geometry,
sampling defaults, fusion) and nothing else: names, licences, sigmas and signals can be corrected
without making stored vectors unusable.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resonance.space.errors import DescriptorError

SCHEMA_VERSION = 1
MODALITIES = ("visual", "audio", "transcript")
BLOCK_WIDTH = 596
TITLE_WIDTH = len(MODALITIES) * BLOCK_WIDTH

#: Fields of the descriptor that decide the numbers of a vector, hence its fingerprint.
FINGERPRINTED = (
    "schema_version",
    "blocks",
    "segment",
    "frames",
    "sampling",
    "sound",
    "transcript",
    "fusion",
    "encoders",
)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Layout of a vector: one block of `width` numbers a modality, side by side in `order`."""

    width: int
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segmenting:
    """How a title is cut: windows of `length_s`; a tail under `min_tail_s` is dropped if another exists."""

    length_s: float
    min_tail_s: float
    text_tokens: int


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """From a decoded picture to FRAMES uint8 RGB [T, height, width, 3].

    `resize` is ``stretch``: the displayed picture (rotation and sample aspect applied) is scaled to
    width x height without cropping. `interpolation` is a filter scaled to the reduction (antialiased).
    `colour_matrix` is ``stream``: YUV is converted by the matrix and range the stream is tagged with.
    """

    width: int
    height: int
    resize: str
    interpolation: str
    colour_matrix: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """Frames a segment holds for each way of sampling, and the limits of borrowing a keyframe."""

    default: str
    image_frames: int
    keyframes_frames: int
    uniform_frames: int
    uniform_fps: float
    borrow_within_s: float


@dataclass(frozen=True, slots=True)
class Sound:
    """PCM float32 mono [window_samples] at `sample_rate_hz`; below `silence_dbfs` (RMS) it is absent."""

    sample_rate_hz: int
    window_samples: int
    resampler: str
    silence_dbfs: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """Tokenizer and the padded lengths (buckets) in which token rows are sent; `max_tokens` truncates."""

    tokenizer: str
    max_tokens: int
    token_buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fusion:
    """Limits and method of the fusion head; longer titles fuse chunks of `max_segments`, then the chunks."""

    max_segments: int
    absent_blocks: str
    pooling: str


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One measured value of a signals model, in output order."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """Where an encoder's weights come from, and the preprocessing constants baked into its graph.

    Of these, `weights_sha256` and `preprocessing` are fingerprinted; `source` and `licence` are not.
    """

    source: str
    licence: str
    weights_sha256: str
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A validated `space.json`.

    Raises:
        DescriptorError: from the constructors, when a field is missing, unknown or inconsistent.
    """

    schema_version: int
    name: str
    trained: bool
    blocks: Blocks
    segment: Segmenting
    frames: FrameGeometry
    sampling: Sampling
    sound: Sound
    transcript: Transcript
    fusion: Fusion
    encoders: Mapping[str, EncoderSource]
    sigmas: Mapping[str, Mapping[str, float]]
    signals: Mapping[str, tuple[SignalSpec, ...]]
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_consistency(self)

    @property
    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of the canonical JSON of everything that decides a vector's numbers."""
        covered = {name: _plain(getattr(self, name)) for name in FINGERPRINTED}
        covered["encoders"] = {
            name: {"weights_sha256": e.weights_sha256, "preprocessing": _plain(e.preprocessing)}
            for name, e in self.encoders.items()
        }
        canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, *, where: str = "space.json") -> Descriptor:
        """Parse and validate; a stored fingerprint must equal the computed one."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise DescriptorError(f"{where}: not JSON ({error})") from error
        if not isinstance(data, dict):
            raise DescriptorError(f"{where}: expected an object, came {type(data).__name__}")
        stored = data.pop("fingerprint", None)
        if stored is None:
            raise DescriptorError(f"{where}: field 'fingerprint' is missing; export the family again")
        descriptor: Descriptor = _build(cls, data, where)
        if stored != descriptor.fingerprint:
            raise DescriptorError(
                f"{where}: stored fingerprint {str(stored)[:12]} differs from the computed "
                f"{descriptor.fingerprint[:12]}; the file was edited: export the family again"
            )
        return descriptor

    @classmethod
    def load(cls, path: str | Path) -> Descriptor:
        """Read `path`; see `from_json`."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DescriptorError(f"{path}: cannot be read ({error.strerror})") from error
        return cls.from_json(text, where=str(path))

    def to_json(self) -> str:
        """The file's text, fingerprint included; `from_json` gives back an equal descriptor."""
        data = {"fingerprint": self.fingerprint, **_plain(self)}
        return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as the JSON types they are written with."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` (parsed JSON) as `kind`, by its type hints; every complaint names the field's path."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast("type[Any]", kind), value, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list):
            raise DescriptorError(f"{where}: expected a list, came {type(value).__name__}")
        return tuple(_build(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise DescriptorError(f"{where}: expected an object, came {type(value).__name__}")
        return {k: _build(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _build_scalar(kind, value, where)


def _build_dataclass(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise DescriptorError(f"{where}: expected an object, came {type(value).__name__}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(value.keys() - fields.keys())
    if unknown:
        raise DescriptorError(
            f"{where}: unknown field(s) {', '.join(unknown)}; known are {', '.join(fields)}"
        )
    required = {
        n
        for n, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - value.keys())
    if missing:
        raise DescriptorError(f"{where}: field(s) missing: {', '.join(missing)}")
    return kind(**{n: _build(hints[n], v, f"{where}.{n}") for n, v in value.items()})


def _build_scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise DescriptorError(f"{where}: expected {kind.__name__}, came {type(value).__name__} ({value!r})")
    if isinstance(value, float) and not math.isfinite(value):
        raise DescriptorError(f"{where}: expected a finite number, came {value!r}")
    return value


def _check_consistency(d: Descriptor) -> None:
    """What one field demands of another; the geometry of the space is fixed, not configurable."""

    def require(condition: bool, field_name: str, came: object, expected: str) -> None:
        if not condition:
            raise DescriptorError(f"space '{d.name}': {field_name} is {came!r}, expected {expected}")

    require(d.schema_version == SCHEMA_VERSION, "schema_version", d.schema_version, str(SCHEMA_VERSION))
    require(d.blocks.order == MODALITIES, "blocks.order", d.blocks.order, str(MODALITIES))
    require(d.blocks.width == BLOCK_WIDTH, "blocks.width", d.blocks.width, str(BLOCK_WIDTH))
    require(d.segment.length_s > 0, "segment.length_s", d.segment.length_s, "> 0")
    require(
        0 < d.segment.min_tail_s <= d.segment.length_s,
        "segment.min_tail_s",
        d.segment.min_tail_s,
        f"in (0, {d.segment.length_s}]",
    )
    require(d.frames.width > 0 and d.frames.height > 0, "frames", (d.frames.width, d.frames.height), "> 0")
    require(d.frames.resize == "stretch", "frames.resize", d.frames.resize, "'stretch'")
    require(
        d.sampling.default in ("keyframes", "uniform"),
        "sampling.default",
        d.sampling.default,
        "'keyframes' or 'uniform'",
    )
    samples = round(d.segment.length_s * d.sound.sample_rate_hz)
    require(
        d.sound.window_samples == samples,
        "sound.window_samples",
        d.sound.window_samples,
        f"{samples} = segment.length_s x sound.sample_rate_hz",
    )
    buckets = d.transcript.token_buckets
    require(
        bool(buckets) and buckets == tuple(sorted(set(buckets))),
        "transcript.token_buckets",
        buckets,
        "ascending",
    )
    require(
        bool(buckets) and buckets[-1] == d.transcript.max_tokens,
        "transcript.max_tokens",
        d.transcript.max_tokens,
        "the largest token bucket",
    )
    require(d.fusion.max_segments > 0, "fusion.max_segments", d.fusion.max_segments, "> 0")
    for query in MODALITIES:
        row = d.sigmas.get(query, {})
        require(
            set(row) == set(MODALITIES) and all(s > 0 for s in row.values()),
            f"sigmas.{query}",
            dict(row),
            "one number > 0 for each block",
        )
    for name, axis in d.axes.items():
        require(len(axis) == BLOCK_WIDTH, f"axes.{name}", len(axis), f"{BLOCK_WIDTH} numbers")
