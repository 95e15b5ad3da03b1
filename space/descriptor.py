"""The space descriptor `space.json`: the one source of what a vector of this space means.

It is written by `resonance export`, served beside the models, and read by every client. Its
fingerprint covers what decides the numbers of a vector (source weights, preprocessing, geometry,
sampling defaults, fusion) and nothing else: names, licences, sigmas, signals and axes can be corrected
without making stored vectors unusable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from resonance.space.errors import DescriptorError
from resonance.space.plain import build_fields, canonical_sha256, parse_json, to_plain

SCHEMA_VERSION = 1
MODALITIES = ("visual", "audio", "transcript")
BLOCK_WIDTH = 596
TITLE_WIDTH = len(MODALITIES) * BLOCK_WIDTH

#: What an axis may be called: its name becomes a column, a key and a label.
AXIS_NAME = re.compile("[a-z][a-z0-9_]{0,31}")
#: Arcs that clients measure; axes stand beside them in one mapping, so no axis may be called so.
MEASURED_ARCS = ("pacing", "energy", "brightness")

_SHA256 = re.compile("[0-9a-f]{64}")
#: A list of numbers as `json.dumps` indents it. Strings hold no raw line breaks, so none can match.
_NUMBERS = re.compile(r"\[\n\s+(-?\d[\d.eE+-]*(?:,\n\s+-?\d[\d.eE+-]*)*)\n\s+\]")

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

    def padded_length(self, tokens: int) -> int:
        """The length that a row of so many tokens, at most `max_tokens`, is padded to."""
        return next(bucket for bucket in self.token_buckets if bucket >= tokens)


@dataclass(frozen=True, slots=True)
class Fusion:
    """Limits and method of the fusion head; of longer titles neighbours are joined first."""

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
class Axis:
    """A direction of the shared space between two ends, each described by prompts; see `space.axes`.

    Attributes:
        low, high: the prompts of the ends. The first of each is its label.
        direction: [596], unit(high) - unit(low): a block's product with it is the difference of its
            similarities to the two ends.
        mean, spread: of that product over the reference set, by modality of the block; spread > 0.
    """

    low: tuple[str, ...]
    high: tuple[str, ...]
    direction: tuple[float, ...]
    mean: Mapping[str, float]
    spread: Mapping[str, float]


@dataclass(frozen=True)  # without slots: the fingerprint is kept beside the fields once it was asked for
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
    axes: Mapping[str, Axis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # by the same rules as the file, so that 8 and 8.0, tuple and list have one fingerprint
        for name, value in build_fields(Descriptor, to_plain(self), "").items():
            object.__setattr__(self, name, value)
        _check_consistency(self)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (64 hex digits) of the canonical JSON of everything that decides a vector's numbers."""
        covered = {name: to_plain(getattr(self, name)) for name in FINGERPRINTED}
        covered["encoders"] = {
            name: {"weights_sha256": e.weights_sha256, "preprocessing": to_plain(e.preprocessing)}
            for name, e in self.encoders.items()
        }
        return canonical_sha256(covered)

    @classmethod
    def from_json(cls, text: str, *, where: str = "space.json") -> Descriptor:
        """Parse and validate; a stored fingerprint must equal the computed one.

        Raises:
            DescriptorError: it is not JSON, a field is missing, unknown or wrong, or it was edited.
        """
        try:
            data = parse_json(text)
            if not isinstance(data, dict):
                raise DescriptorError(f"expected an object, came {type(data).__name__}")
            stored = data.pop("fingerprint", None)
            if stored is None:
                raise DescriptorError("field 'fingerprint' is missing; export the family again")
            descriptor = cls(**build_fields(cls, data, ""))
        except DescriptorError as error:
            raise DescriptorError(f"{where}: {error}") from error
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
        except UnicodeDecodeError as error:
            raise DescriptorError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
        return cls.from_json(text, where=str(path))

    def to_json(self) -> str:
        """The file's text, fingerprint included; `from_json` gives back an equal descriptor."""
        data = {"fingerprint": self.fingerprint, **to_plain(self)}
        text = json.dumps(data, indent=2, allow_nan=False)
        # a line a number would triple the file: directions are 596 numbers each
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _check_consistency(d: Descriptor) -> None:
    """What one field demands of another; the geometry of the space is fixed, not configurable."""

    def require(condition: bool, field_name: str, came: object, expected: object) -> None:
        if not condition:
            raise DescriptorError(f"{field_name} is {came!r}, expected {expected} (space '{d.name}')")

    def require_above(least: float, *names: str) -> None:
        for name in names:
            part, _, leaf = name.partition(".")
            value = getattr(getattr(d, part), leaf)
            require(value > least, name, value, f"> {least:g}")

    require(d.schema_version == SCHEMA_VERSION, "schema_version", d.schema_version, SCHEMA_VERSION)
    require(d.blocks.order == MODALITIES, "blocks.order", d.blocks.order, MODALITIES)
    require(d.blocks.width == BLOCK_WIDTH, "blocks.width", d.blocks.width, BLOCK_WIDTH)
    require_above(0, "segment.length_s", "segment.min_tail_s", "segment.text_tokens")
    require_above(0, "frames.width", "frames.height", "sound.sample_rate_hz", "fusion.max_segments")
    require_above(0, "sampling.image_frames", "sampling.keyframes_frames", "sampling.uniform_frames")
    require_above(0, "sampling.uniform_fps")
    most_s = d.segment.length_s
    require(d.segment.min_tail_s <= most_s, "segment.min_tail_s", d.segment.min_tail_s, f"<= {most_s}")
    for name, value, known in (
        ("frames.resize", d.frames.resize, ("stretch",)),
        ("frames.interpolation", d.frames.interpolation, ("bilinear", "bicubic")),
        ("frames.colour_matrix", d.frames.colour_matrix, ("stream",)),
        ("sampling.default", d.sampling.default, ("keyframes", "uniform")),
    ):
        require(value in known, name, value, " or ".join(map(repr, known)))
    reach_s = d.sampling.borrow_within_s
    require(reach_s >= 0, "sampling.borrow_within_s", reach_s, ">= 0")
    samples = round(d.segment.length_s * d.sound.sample_rate_hz)
    came = d.sound.window_samples
    require(came == samples, "sound.window_samples", came, f"{samples} = length_s x sample_rate_hz")
    buckets = d.transcript.token_buckets
    ascending = bool(buckets) and buckets[0] > 0 and buckets == tuple(sorted(set(buckets)))
    require(ascending, "transcript.token_buckets", buckets, "lengths > 0, ascending")
    longest = d.transcript.max_tokens
    require(longest == buckets[-1], "transcript.max_tokens", longest, f"{buckets[-1]}, the largest bucket")
    for name, encoder in d.encoders.items():
        digest = encoder.weights_sha256
        require(bool(_SHA256.fullmatch(digest)), f"encoders.{name}.weights_sha256", digest, "64 hex digits")
    require(set(d.sigmas) == set(MODALITIES), "sigmas", sorted(d.sigmas), f"a row for each of {MODALITIES}")
    for query, row in d.sigmas.items():
        complete = set(row) == set(MODALITIES) and all(s > 0 for s in row.values())
        require(complete, f"sigmas.{query}", dict(row), "one number > 0 for each block")
    for name, axis in d.axes.items():
        _check_axis(name, axis, require)


def _check_axis(name: str, axis: Axis, require: Callable[[bool, str, object, object], None]) -> None:
    where = f"axes.{name}"
    require(bool(AXIS_NAME.fullmatch(name)), where, name, f"a name like {AXIS_NAME.pattern}")
    require(name not in MEASURED_ARCS, where, name, f"none of {MEASURED_ARCS}, which are measured")
    for end, prompts in (("low", axis.low), ("high", axis.high)):
        require(bool(prompts) and all(prompts), f"{where}.{end}", prompts, "prompts")
    numbers = len(axis.direction)
    require(numbers == BLOCK_WIDTH, f"{where}.direction", f"{numbers} numbers", BLOCK_WIDTH)
    require(any(axis.direction), f"{where}.direction", "all zero", "one number that is not 0")
    complete = set(axis.mean) == set(MODALITIES)
    require(complete, f"{where}.mean", dict(axis.mean), "one number for each block")
    complete = set(axis.spread) == set(MODALITIES) and all(s > 0 for s in axis.spread.values())
    require(complete, f"{where}.spread", dict(axis.spread), "one number > 0 for each block")
