"""Optimisation profiles from the contract and a space: the shapes a plan takes, and which it is tuned for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resonance.export.contract import Model, Tensor
from resonance.space.descriptor import Descriptor

#: The batch a plan is tuned for: what a replica's dynamic batching gathers under load. 1 is always allowed,
#: and so is the model's max_batch_size.
PREFERRED_BATCH = 16
#: Segments a title's fusion is tuned for: about nine minutes at 8 s.
PREFERRED_SEGMENTS = 64

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Shapes of one input, batch axis included where there is one: smallest, tuned for, largest."""

    minimum: Shape
    preferred: Shape
    maximum: Shape

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether `shape` lies between minimum and maximum in every axis."""
        return len(shape) == len(self.minimum) and all(
            low <= value <= high for low, value, high in zip(self.minimum, shape, self.maximum, strict=True)
        )


#: The range of every input of a model, by name.
Profile = Mapping[str, Range]


def profiles(model: Model, descriptor: Descriptor) -> tuple[Profile, ...]:
    """The `model.gpu_profiles` profiles of a model, one a bucket, shortest first.

    A family with more buckets than profiles has the longest in one; with fewer, the last is repeated, as
    Triton refuses a config that names a profile which a plan lacks. TensorRT tunes a repetition from its
    timing cache.
    """
    most = model.max_batch_size
    batches = (min(1, most), min(PREFERRED_BATCH, most), most)  # 0: no batch axis
    return tuple(
        {
            tensor.name: Range(*(_shape(tensor, batch, lengths[i]) for i, batch in enumerate(batches)))
            for tensor in model.inputs
        }
        for lengths in _lengths(model, descriptor)
    )


def first_admitting(choices: Sequence[Profile], shapes: Mapping[str, Sequence[int]]) -> int | None:
    """Index of the first profile that takes inputs of `shapes`; None if there is none."""
    return next(
        (i for i, p in enumerate(choices) if all(p[name].admits(shape) for name, shape in shapes.items())),
        None,
    )


def _shape(tensor: Tensor, batch: int, lengths: Mapping[str, int]) -> Shape:
    axes = tuple(lengths[axis] if isinstance(axis, str) else axis for axis in tensor.axes)
    return axes if batch == 0 else (batch, *axes)


#: Lengths of named axes, smallest, tuned for and largest.
_Three = tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]


def _lengths(model: Model, descriptor: Descriptor) -> list[_Three]:
    """For each profile of `model` the lengths of its named axes."""
    named = {axis for t in model.inputs for axis in t.axes if isinstance(axis, str)}
    if not named:
        return [({}, {}, {})] * model.gpu_profiles
    (axis,) = named  # no model of the contract has two
    if axis == "segments":
        most = descriptor.fusion.max_segments
        return [({axis: 1}, {axis: min(PREFERRED_SEGMENTS, most)}, {axis: most})] * model.gpu_profiles
    buckets = _buckets(axis, descriptor)
    count = model.gpu_profiles
    groups = [(b, b) for b in buckets[: count - 1]]
    rest = buckets[count - 1 :] or buckets[-1:]
    groups += [(rest[0], rest[-1])] * (count - len(groups))
    return [({axis: low}, {axis: high}, {axis: high}) for low, high in groups]


def _buckets(axis: str, descriptor: Descriptor) -> tuple[int, ...]:
    """Lengths in which `axis` comes, ascending."""
    if axis == "frames":
        sampling = descriptor.sampling
        return tuple(sorted({sampling.image_frames, sampling.keyframes_frames, sampling.uniform_frames}))
    if axis == "tokens":
        return descriptor.transcript.token_buckets
    raise KeyError(f"no buckets are known for axis '{axis}'; name them here")
