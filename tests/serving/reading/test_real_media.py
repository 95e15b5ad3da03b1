"""Real media through a confined process gives, bit for bit, what it gives here; or the same refusal."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resonance.clients.errors import MediaError
from resonance.clients.media.mp4_index import upload_order
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Damage, SegmentInput
from resonance.serving.gateway.reading import MediaProcess, ReadLimits, ReadRequest, SpoolBudget
from resonance.space.descriptor import Descriptor
from tests.clients.media.animations import FORMATS, animation
from tests.clients.media.conftest import make_descriptor
from tests.clients.media.heic import tiled_photo, whole_photo
from tests.clients.media.same import assert_same
from tests.clients.media.synthetic import even_times, film, sound
from tests.lengths import long
from tests.real_media import rows_of
from tests.serving.gateway.reading_kit import make_process, read_to_end, sending


@pytest.fixture(scope="module")
def descriptor() -> Descriptor:
    """The tests' space."""
    return make_descriptor()


def _expected(
    path: Path, descriptor: Descriptor, **options: object
) -> tuple[list[SegmentInput] | str, Damage]:
    try:
        with open_media(path.read_bytes(), descriptor, name="film", **options) as reader:  # type: ignore[arg-type]
            return list(reader.segments()), Damage.of(reader.times)
    except MediaError as error:
        return type(error).__name__, Damage()


@pytest.mark.parametrize(
    ("folder", "whole"),
    [("video", False), pytest.param("video", True, marks=long)]
    + [(folder, True) for folder in ("audio", "image", "odd")],
)
async def test_all_media_strictly_confined(
    descriptor: Descriptor, media: Path, tmp_path: Path, folder: str, whole: bool
) -> None:
    paths = sorted((media / folder).iterdir())
    if not whole:
        paths = [media / row["path"] for row in rows_of(media, folder, whole=False)]
    budget = SpoolBudget(1 << 28)
    read = damaged = 0
    said: list[str] = []
    for number, path in enumerate(paths):
        data = path.read_bytes()
        order = upload_order(io.BytesIO(data), len(data)) if number % 2 else None
        process = make_process(descriptor, tmp_path, budget=budget, size_bytes=len(data))
        came: list[SegmentInput] | str
        async with sending(process, data, chunk=max(len(data) // 5, 20_011), order=order):
            try:
                came = await read_to_end(process)
            except MediaError as error:
                came = type(error).__name__
                said.append(str(error))
        expected, damage = _expected(path, descriptor)
        if isinstance(came, str) or isinstance(expected, str):
            assert came == expected, path.name
        else:
            assert_same(came, expected, path.name)
            assert Damage.of(process.times) == damage, path.name
            damaged += damage != Damage()
            read += 1
    assert read > (20 if whole else 15)
    assert damaged == (3 if folder == "odd" else 0)
    assert not [line for line in said if "SIG" in line]
    assert budget.used_bytes == 0


@pytest.mark.parametrize("form", FORMATS)
async def test_animations_strictly_confined(descriptor: Descriptor, tmp_path: Path, form: str) -> None:
    data = animation(form, [100] * 120)
    process = make_process(descriptor, tmp_path, size_bytes=len(data))
    async with sending(process, data, chunk=len(data) // 5):
        came = await read_to_end(process)
    with open_media(data, descriptor) as reader:
        assert_same(came, list(reader.segments()))


@pytest.mark.parametrize("photo", [whole_photo, tiled_photo])
async def test_photos_in_heic_strictly_confined(
    descriptor: Descriptor, tmp_path: Path, photo: Callable[[], bytes]
) -> None:
    data = photo()
    process = make_process(descriptor, tmp_path, size_bytes=len(data))
    async with sending(process, data, chunk=len(data) // 5):
        came = await read_to_end(process)
    with open_media(data, descriptor) as reader:
        assert_same(came, list(reader.segments()))


async def test_stretches_decoded_in_the_process(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    path = media / "video" / "fixedcam_bottles_on_shelf.mp4"
    data = path.read_bytes()
    process = make_process(descriptor, tmp_path, size_bytes=len(data), sampling="uniform", first_index=2)
    async with sending(process, data):
        came = await read_to_end(process)
    expected, _ = _expected(path, descriptor, sampling="uniform")
    assert isinstance(expected, list)
    assert_same(came, expected[2:])


async def test_segments_can_be_decoded_again(descriptor: Descriptor, tmp_path: Path) -> None:
    refresh = {"preset": "ultrafast", "intra-refresh": "1", "sc_threshold": "0", "bf": "0"}
    data = film(even_times(30, 10), rate=10, gop=20, options=refresh, container="matroska")
    process = make_process(descriptor, tmp_path)
    with open_media(data, descriptor) as reader:
        async with sending(process, data):
            for here, there in zip(await read_to_end(process), reader.segments(), strict=True):
                came, expected = await process.decode_segment(here), reader.decode_segment(there)
                assert came is not None
                assert expected is not None
                assert_same([replace(here, video=came)], [replace(there, video=expected)])


async def test_what_a_live_feed_sends_on_follows_the_windows_of_an_earlier_call(
    descriptor: Descriptor, tmp_path: Path
) -> None:
    data = film(even_times(24.5, 10, start_s=31.0), rate=10, gop=20, container="mpegts")
    first, later = (make_process(descriptor, tmp_path, live=True, first_index=index) for index in (0, 3))
    async with sending(first, data), sending(later, data):
        expected, came = await read_to_end(first), await read_to_end(later)
        assert [s.index for s in expected] == [0, 1, 2]  # a tail under 1 s is dropped
        moved = [
            replace(
                s,
                index=s.index + 3,
                start_s=(s.start_s or 0.0) + 24.0,
                end_s=(s.end_s or 0.0) + 24.0,
                frame_times_s=tuple(t + 24.0 for t in s.frame_times_s),
            )
            for s in expected
        ]
        assert_same(came, moved)
        again = [await p.decode_segment(s[1]) for p, s in ((first, expected), (later, came))]
    assert again[0] is not None
    assert again[1] is not None
    np.testing.assert_array_equal(again[0].pixels, again[1].pixels)


@pytest.mark.parametrize("seconds", [0.5, 0.0])
async def test_a_live_feed_with_nothing_after_an_earlier_call_is_no_error(
    descriptor: Descriptor, tmp_path: Path, seconds: float
) -> None:
    silence = sound(
        np.full(round((seconds or 3.0) * 16_000), 0.1 * (seconds > 0), np.float32), rate_hz=16_000
    )
    process = make_process(descriptor, tmp_path, live=True, first_index=3)
    async with sending(process, silence):
        assert await read_to_end(process) == []


async def test_text_subtitles_and_words_beside(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    vtt = (media / "subtitles" / "mixed_farm_animal_sounds.en.vtt").read_bytes()
    sound = (media / "audio" / "mixed_farm_animal_sounds.mp3").read_bytes()
    text = (media / "subtitles" / "speech_shakespeare_sonnet_2.en.txt").read_bytes()

    async def read(data: bytes, **request: object) -> list[SegmentInput]:
        asked = ReadRequest(media_id="film", **request)  # type: ignore[arg-type]
        process = MediaProcess(
            asked, descriptor, ReadLimits(), tmp_path, SpoolBudget(1 << 28), on_violation="kill"
        )
        async with sending(process, data):
            return await read_to_end(process)

    with open_media(text, descriptor, form="text") as reader:
        assert_same(await read(text, mode="text"), list(reader.segments()))
    with open_media(vtt, descriptor, form="vtt") as reader:
        assert_same(await read(vtt, mode="subtitles", subtitles=("vtt", b"")), list(reader.segments()))
    windows = "1\n00:00:01,000 --> 00:00:02,000\nit’s &rsquo;\n".encode("cp1252")
    [words] = await read(windows, mode="subtitles", subtitles=("srt", b""))
    assert words.text == "it’s ’"
    for spoken, encoding in (
        ("Где ты был вчера вечером?", "cp1251"),
        ("Zażółć gęślą jaźń wieczorem.", "cp1250"),
        ("你昨天晚上去哪里了？", "gb18030"),
    ):
        cue = f"1\n00:00:01,000 --> 00:00:02,000\n{spoken}\n".encode(encoding)
        [words] = await read(cue, mode="subtitles", subtitles=("srt", b""))
        assert words.text == spoken
    segments = await read(sound, mode="encoded", size_bytes=len(sound), subtitles=("vtt", vtt))
    assert all(s.text and s.pcm is not None for s in segments)
    only = await read(sound, mode="encoded", modalities=frozenset(["audio"]), subtitles=("vtt", vtt))
    assert all(s.text is None for s in only)
    assert [s.pcm.length for s in only if s.pcm][:-1] == [s.pcm.length for s in segments if s.pcm][:-1]
