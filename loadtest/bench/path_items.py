"""What is sent along the serving path: one content as tensors for a model and as a call of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resonance.clients.media.clip import clip_to_bytes
from resonance.clients.media.feed import FeedReader
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Clip, Frames, SegmentInput
from resonance.clients.media.words import SubtitleFile
from resonance.clients.segment import frames_tensors, pcm_tensors
from resonance.export import contract
from resonance.export.onnx_export import make_inputs
from resonance.loadtest.bench.bare import BareModels, Tensors
from resonance.loadtest.films import loop, streamed
from resonance.loadtest.gateway import wire
from resonance.loadtest.gateway.material import upload_of
from resonance.space.descriptor import Descriptor
from resonance.v1 import embedding_pb2 as pb

#: Different ones of each item, used in turn.
DISTINCT = 8
FEW_FRAMES = 4
_WORDS = "a boat with red sails crosses the harbour while two gulls cry"


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of item.

    Attributes:
        name: as it is shown.
        model: the model or ensemble that Triton is asked for, with `feeds`, each of batch 1.
        calls: messages of one call of the gateway for each of `feeds`; none where no call sends just this.
        called: the model or ensemble whose work the call asks for; fusion follows.
        read: what the gateway reads from call `n`, as tensors for `called`, by the code that it reads with.
        beside: what a call takes besides those graphs.
        is_query: one message of EmbedQuery, else messages of EmbedMedia.
    """

    name: str
    model: str
    feeds: Sequence[Tensors]
    calls: Sequence[Sequence[bytes]] = ()
    called: str = ""
    read: Callable[[int], Tensors] = lambda _: {}
    beside: str = ""
    is_query: bool = False


def path_items(bare: BareModels, folder: Path, distinct: int = DISTINCT) -> list[Item]:
    """Every encoder and the whole ensemble. The film of the ensemble's item is made in `folder`."""
    return [
        _few_pictures(distinct),
        _pictures(bare.descriptor, distinct),
        _sound(bare.descriptor, distinct),
        _words(bare, distinct),
        _segment(bare.descriptor, folder, distinct),
    ]


def _few_pictures(distinct: int) -> Item:
    model = contract.model("visual_encoder")
    feeds = [make_inputs(model, batch=1, seed=seed, axes={"frames": FEW_FRAMES}) for seed in range(distinct)]
    return Item(f"visual_encoder, {FEW_FRAMES} frames", model.name, feeds)


def _pictures(descriptor: Descriptor, distinct: int) -> Item:
    """A window of a feed of raw pictures, which are exactly those that the window's parts want."""
    count, length_s = descriptor.sampling.uniform_frames, descriptor.segment.length_s
    times_s = [(i + 0.5) * length_s / count for i in range(count)]
    width, height = descriptor.frames.width, descriptor.frames.height
    films, calls = [], []
    for seed in range(distinct):
        pictures = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)
        pictures.flags.writeable = False
        films.append(pictures)
        frames = [
            wire.frame(at, width, height, one.tobytes()) for at, one in zip(times_s, pictures, strict=True)
        ]
        calls.append([wire.start("pictures", pb.MODE_FRAMES, modalities=[pb.MODALITY_VISUAL]), *frames])

    def read(number: int) -> Tensors:
        video = _at_once(_window_of_pictures(descriptor, times_s, films[number])).video
        assert isinstance(video, Frames)
        return frames_tensors(video)

    model = "visual_encoder"
    feeds = [read(number) for number in range(distinct)]
    return Item(f"{model}, {count} frames", model, feeds, calls, model, read, "pictures chosen, fusion")


def _sound(descriptor: Descriptor, distinct: int) -> Item:
    """A window of a feed of raw sound at the rate of the space, a second a message."""
    rate_hz, length_s = descriptor.sound.sample_rate_hz, round(descriptor.segment.length_s)
    heard, calls = [], []
    for seed in range(distinct):
        noise = np.random.default_rng(seed).normal(0, 3000, length_s * rate_hz)
        seconds = np.clip(np.rint(noise), -32768, 32767).astype("<i2").reshape(length_s, rate_hz)
        heard.append(seconds)
        stretches = [wire.sound(at, rate_hz, one.tobytes()) for at, one in enumerate(seconds)]
        calls.append([wire.start("sound", pb.MODE_FRAMES, modalities=[pb.MODALITY_AUDIO]), *stretches])

    def read(number: int) -> Tensors:
        pcm = _at_once(_window_of_sound(descriptor, heard[number], rate_hz)).pcm
        assert pcm is not None
        return pcm_tensors(pcm)

    model = "audio_encoder"
    feeds = [read(number) for number in range(distinct)]
    return Item(f"{model}, {length_s} s", model, feeds, calls, model, read, "sound put in place, fusion")


def _words(bare: BareModels, distinct: int) -> Item:
    """A sentence as a query."""
    texts = [f"{_WORDS}, {number}" for number in range(distinct)]
    feeds = [bare.tokens(text.encode()) for text in texts]
    queries = [
        [pb.EmbedQueryRequest(query_id="words", parts=[pb.QueryPart(text=text)]).SerializeToString()]
        for text in texts
    ]
    name = f"transcript_encoder, {feeds[0]['IDS'].shape[1]} tokens"
    return Item(
        name,
        "transcript_encoder",
        feeds,
        queries,
        "transcript_embedding",
        lambda number: _text(texts[number]),
        "tokens, fusion, the query's weights",
        is_query=True,
    )


def _segment(descriptor: Descriptor, folder: Path, distinct: int) -> Item:
    """A film of one window, as it is streamed, with subtitles of its own."""
    length_s = round(descriptor.segment.length_s)
    path = loop(replace(streamed(minutes=1), container="mkv", loop_s=length_s), folder)
    data = path.read_bytes()
    subtitles = [
        f"1\n00:00:00,500 --> 00:00:07,000\n{_WORDS}, {number}\n".encode() for number in range(distinct)
    ]
    calls = []
    for words in subtitles:
        sent = pb.SubtitleFile(format="srt", data=words)
        start = wire.start(path.name, pb.MODE_ENCODED, size_bytes=len(data), subtitles=sent)
        calls.append([start, *upload_of(data, path.name)[1:]])

    def read(number: int) -> Tensors:
        words = SubtitleFile("srt", subtitles[number])
        with open_media(data, descriptor, transcript=words, name=path.name) as reader:
            (segment,) = reader.segments()
        assert isinstance(segment.video, Clip)
        assert segment.pcm is not None
        assert segment.text is not None
        clip = np.frombuffer(clip_to_bytes(segment.video), np.uint8)[None]
        return {"CLIP": clip, **pcm_tensors(segment.pcm), **_text(segment.text)}

    model = "segment_embedding"
    feeds = [read(number) for number in range(distinct)]
    beside = "file read, sound decoded, fusion"
    return Item(f"{model}, {length_s} s of 720p H.264", model, feeds, calls, model, read, beside)


async def _window_of_pictures(
    descriptor: Descriptor, times_s: Sequence[float], pictures: npt.NDArray[np.uint8]
) -> SegmentInput:
    reader = _feed(descriptor, "visual")
    for time_s, picture in zip(times_s, pictures, strict=True):
        await reader.add_frame(time_s, picture)
    return await _only_window(reader)


async def _window_of_sound(
    descriptor: Descriptor, heard: npt.NDArray[np.int16], rate_hz: int
) -> SegmentInput:
    """Of `heard` [seconds, rate]."""
    reader = _feed(descriptor, "audio")
    for at, second in enumerate(heard):
        await reader.add_sound(float(at), second[:, None].astype(np.float32) / 32768, rate_hz)
    return await _only_window(reader)


def _feed(descriptor: Descriptor, modality: str) -> FeedReader:
    """As the gateway makes it for such a call."""
    return FeedReader(
        descriptor,
        media_id=modality,
        modalities=frozenset({modality}),
        live=False,
        max_frame_pixels=1 << 24,
    )


async def _only_window(reader: FeedReader) -> SegmentInput:
    await reader.end()
    segment = await reader.next()
    assert segment is not None
    return segment


def _at_once(work: Coroutine[Any, Any, SegmentInput]) -> SegmentInput:
    """Of a coroutine that has nothing to wait for: an event loop would count as work."""
    try:
        work.send(None)
    except StopIteration as ended:
        segment: SegmentInput = ended.value
        return segment
    raise AssertionError("one window has room")


def _text(text: str) -> dict[str, npt.NDArray[Any]]:
    return {"TEXT": np.array([[text.encode()]], np.object_)}
