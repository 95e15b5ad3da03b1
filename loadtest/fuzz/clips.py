"""Mutated clips: keyframe packets of uploads, which the model `video_decoder` decodes.

Its process is shared by all callers and holds no sandbox: here a crash is a finding, not contained.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from google.protobuf.message import DecodeError

from resonance.clients.errors import MediaError
from resonance.clients.media.clip import VIDEO_CODECS, clip_from_bytes, clip_to_bytes, decode_clip
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Clip, Limits, Packet
from resonance.loadtest.fuzz.mutate import CHANGES, Material, Sample, make_mutant, random_of
from resonance.space.descriptor import Descriptor, FrameGeometry

#: Extremes of sizes and rotations a message may claim.
_SIZES = (0, 1, 2, 15, 16, 17, 4096, 8192, 65_535, 65_536, 1 << 31, (1 << 32) - 1)
_FORMATS = ("", "yuv420p", "yuv444p16le", "gray", "pal8", "nv12", "rgb24", "x" * 300)
#: Keyframes of one sample that are taken.
_CLIPS_A_SAMPLE = 2


def clip_samples(samples: Sequence[Sample], descriptor: Descriptor) -> list[Sample]:
    """Clips that reading `samples` gives, as messages."""
    found = []
    for sample in samples:
        for place, clip in enumerate(_clips(sample, descriptor)):
            found.append(Sample(f"{sample.name}#{place}", clip_to_bytes(clip)))
    return found


def _clips(sample: Sample, descriptor: Descriptor) -> Iterator[Clip]:
    with (
        contextlib.suppress(MediaError),
        open_media(
            sample.data, descriptor, sampling="keyframes", limits=Limits(), name=sample.name
        ) as reader,
    ):
        clips = (s.video for s in reader.segments() if isinstance(s.video, Clip))
        for _, clip in zip(range(_CLIPS_A_SAMPLE), clips, strict=False):
            yield clip


def make_clip(material: Material, *, seed: int, number: int) -> bytes:
    """Clip `number` of the run `seed`, as a message; one in ten is mutated as bytes, the others by field."""
    random = random_of(seed, number, "clip")
    if random.random() < 0.1:
        return make_mutant(material, seed=seed, number=number).data
    clip = clip_from_bytes(random.choice(material.samples).data)
    other = clip_from_bytes(random.choice(material.samples).data)
    packets = [replace(packet, data=_changed(packet.data, random, material)) for packet in clip.packets]
    if random.random() < 0.1:
        packets.insert(random.randrange(len(packets) + 1), random.choice(other.packets))
    if random.random() < 0.05:
        packets = [Packet(0.0, b"")] * random.randint(0, 3) + packets
    clip = replace(clip, packets=tuple(packets))
    if random.random() < 0.25:
        clip = replace(clip, extradata=_changed(clip.extradata, random, material))
    if random.random() < 0.05:
        clip = replace(clip, extradata=other.extradata)
    if random.random() < 0.1:
        clip = replace(clip, codec=random.choice((*sorted(VIDEO_CODECS), other.codec)))
    if random.random() < 0.1:
        clip = replace(clip, width_px=random.choice(_SIZES), height_px=random.choice(_SIZES))
    if random.random() < 0.1:
        clip = replace(clip, pixel_format=random.choice(_FORMATS), colour_matrix=random.randrange(300))
        clip = replace(clip, colour_range=random.randrange(4))
    if random.random() < 0.1:
        clip = replace(
            clip, rotation_deg=random.choice((0, 90, 180, 270, 45)), frame_bucket=random.choice((1, 4, 64))
        )
    return clip_to_bytes(clip)


def _changed(data: bytes, random: Random, material: Material) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        name, change = random.choice(CHANGES)
        if name in ("flip_bits", "set_bytes", "set_number", "truncate", "insert", "remove"):
            change(changed, random, material)
    return bytes(changed)


def decode(message: bytes, geometry: FrameGeometry) -> str:
    """What `video_decoder` makes of it: "ok", or the kind of refusal.

    Raises:
        Exception: one that it does not refuse with; see `serving/models/common.py`.
    """
    try:
        frames = decode_clip(clip_from_bytes(message), geometry)
    except (ValueError, DecodeError) as error:
        return type(error).__name__
    assert frames.pixels.shape[1:] == (geometry.height, geometry.width, 3)
    return "ok"
