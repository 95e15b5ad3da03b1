"""A few seconds out of real media are what decoding the whole of it gives at that place."""

from __future__ import annotations

from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from resonance.clients.discovery.reel_card import title_card
from resonance.clients.discovery.reel_media import Kind, ReelMedia
from resonance.clients.discovery.reel_pictures import Shape
from resonance.clients.discovery.reel_sound import FADE_S, SoundPlacer, faded
from resonance.clients.errors import MediaStalledError, NoModalityError, NotMediaError
from resonance.loadtest.reel.films import Film, write_film
from tests.clients.discovery.made import DESCRIPTOR
from tests.clients.media.synthetic import even_times, film, read_number
from tests.clients.media.synthetic import sound as encoded

#: Long enough for a stretch in the middle that has to be sought: every container, codec and kind of index.
FILMS = (
    *(
        "animals_dog_by_fireplace_vfr.mp4",
        "animation_bbb_opening_30s.webm",
        "animation_claymation_man_tree.ogv",
    ),
    *("animation_tos_battle_70s.webm", "animation_tos_room_robot_av1.webm", "people_two_men_whiteboard.webm"),
    *(
        "fixedcam_cars_from_above.mp4",
        "people_dark_room_paper_sign_vfr.mov",
        "space_webb_telescope_cleanroom.mp4",
    ),
    *("transcode_elf_flv1_mp3.flv", "transcode_elf_h263_aac.3gp", "transcode_elf_mpeg2_mp2.ts"),
    *("transcode_elf_mpeg4_noaudio.avi", "transcode_elf_wmv2_wma.wmv", "transcode_elf_hevc_aac.mp4"),
)
SOUNDS = ("speech_countdown.mp3", "music_brahms_strings.ogg", "speech_jfk_inaugural.flac")
RATE_HZ = 48_000


def whole_length_s(path: Path) -> float:
    with av.open(str(path)) as file:
        return (file.duration or 0) / av.time_base


@pytest.mark.parametrize("name", FILMS)
def test_frames_after_a_seek_are_those_of_the_whole(media: Path, name: str) -> None:
    path = media / "video" / name
    start_s = 0.6 * whole_length_s(path)
    with ReelMedia(str(path), DESCRIPTOR) as opened:
        assert opened.kind is Kind.VIDEO
        part = [(t, f.to_ndarray(format="gray")) for t, f in opened.frames(start_s, start_s + 0.7)]
        whole = [(t, f) for t, f in opened.frames(-1.0, start_s + 0.7)]
    before = [t for t, _ in whole if t <= start_s]
    expected = [(t, f) for t, f in whole if t >= before[-1]]
    assert [t for t, _ in part] == [t for t, _ in expected]
    assert len(part) > 3
    for (_, mine), (_, theirs) in zip(part, expected, strict=True):
        assert np.abs(mine.astype(int) - theirs.to_ndarray(format="gray")).mean() < 0.5


def decoded_from_its_start(path: Path, start_s: float, samples: int) -> np.ndarray:
    """float32 [2, samples]: all of the track is decoded; its frames from shortly before `start_s` on are laid
    one behind the other from the time of the first of them."""
    with av.open(str(path)) as file:
        origin_s = min(
            float((s.start_time or 0) * (s.time_base or 0))
            for s in file.streams
            if s.type in ("video", "audio")
        )
        placer = SoundPlacer(RATE_HZ, start_s, samples)
        for frame in file.decode(audio=0):
            time_s = None if frame.time is None else frame.time - origin_s
            if time_s is None or time_s > start_s - 0.3:
                placer.put(frame, time_s)
    found = placer.finish()
    assert found is not None
    return found


@pytest.mark.parametrize("name", [*FILMS, *SOUNDS])
def test_sound_after_a_seek_is_that_of_the_whole(media: Path, name: str) -> None:
    path = media / ("audio" if name in SOUNDS else "video") / name
    start_s = 0.6 * whole_length_s(path)
    with ReelMedia(str(path), DESCRIPTOR) as opened:
        part = opened.sound(start_s, RATE_HZ, RATE_HZ)
        if not opened.has_sound:
            assert part is None
            return
    assert part is not None
    mine, theirs = part[0].astype(float), decoded_from_its_start(path, start_s, RATE_HZ)[0].astype(float)
    if np.abs(theirs).max() < 1e-4:
        assert np.abs(mine).max() < 1e-4
        return
    # below 4 kHz: half a sample, to which a frame is put in place, is much of a wave above it
    size = 4 * RATE_HZ
    mine_hz, theirs_hz = (np.fft.rfft(sound, size)[: 4_000 * size // RATE_HZ] for sound in (mine, theirs))
    alike = np.fft.irfft(mine_hz * np.conj(theirs_hz), size)
    power = [(np.fft.irfft(hz, size) ** 2).sum() for hz in (mine_hz, theirs_hz)]
    late = (int(np.argmax(alike)) + size // 2) % size - size // 2
    assert abs(late) <= 1e-3 * RATE_HZ  # containers round times to a millisecond
    assert alike.max() / np.sqrt(power[0] * power[1]) > 0.985


def test_pictures_of_raw_h264_are_counted(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "bf": "2", "b_strategy": "0", "x264-params": "force-cfr=1:fps=10"}
    path = tmp_path / "film.h264"
    path.write_bytes(film(even_times(6, 10), container="h264", gop=20, rate=10, options=options))
    with ReelMedia(str(path), DESCRIPTOR) as opened:
        shown = [(t, read_number(f.to_ndarray(format="rgb24"))) for t, f in opened.frames(3.0, 4.0)]
    assert shown == [(pytest.approx(n / 10), n) for n in range(30, 40)]


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_a_later_link_of_an_ogg_is_found(tmp_path: Path, channels: int) -> None:
    def link(pitch_hz: float, channels: int) -> bytes:
        tone = 0.4 * np.sin(np.arange(20 * RATE_HZ) * (2 * np.pi * pitch_hz / RATE_HZ))
        return encoded(
            tone.astype(np.float32), rate_hz=RATE_HZ, codec="libopus", container="ogg", channels=channels
        )

    path = tmp_path / "radio.ogg"
    path.write_bytes(link(400, 1) + link(1000, channels))
    with ReelMedia(str(path), DESCRIPTOR) as opened:
        heard = [opened.sound(start_s, RATE_HZ, RATE_HZ) for start_s in (10.0, 33.0)]
    assert [np.abs(np.fft.rfft(sound[0])).argmax() for sound in heard if sound is not None] == [400, 1000]


def test_media_elsewhere_is_read_in_place(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film((4.0, 4.0)))
    store = fsspec.filesystem("memory")
    store.pipe("/films/film.mp4", path.read_bytes())
    try:
        with ReelMedia("memory://films/film.mp4", DESCRIPTOR) as opened:
            times = [t for t, _ in opened.frames(3.0, 4.0)]
    finally:
        store.rm("/films", recursive=True)
    assert times == pytest.approx([3 + i / 25 for i in range(25)])


def test_words_alone_and_what_is_not_there_say_so(media: Path, tmp_path: Path) -> None:
    with pytest.raises(NoModalityError, match="words alone"):
        ReelMedia(str(media / "odd" / "streams_subtitle_only.mkv"), DESCRIPTOR)
    with pytest.raises(NotMediaError, match=r"gone\.mp4"):
        ReelMedia(str(tmp_path / "gone.mp4"), DESCRIPTOR)


def test_a_clip_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "film.mp4", Film((8.0,)))
    with ReelMedia(str(path), DESCRIPTOR) as opened:
        monkeypatch.setattr("resonance.clients.discovery.reel_media.MOST_READ_S", 0.0)
        with pytest.raises(MediaStalledError, match="film"):
            list(opened.frames(7.0, 8.0))


@pytest.mark.parametrize(
    ("shape", "size", "fitted"),
    [
        (Shape(), (1920, 1080), (1280, 720)),
        (Shape(), (100, 100), (720, 720)),
        (Shape(90), (1920, 1080), (404, 720)),  # 720 * 9 / 16 = 405, made even
        (Shape(0, 16 / 15), (720, 576), (960, 720)),  # PAL, 4:3
        (Shape(270, 2.0), (160, 180), (404, 720)),
        (Shape(), (32, 2048), (12, 720)),
        (Shape(), (4096, 2), (1280, 2)),
    ],
)
def test_pictures_are_as_large_as_they_fit(
    shape: Shape, size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert shape.fitted(*size, 1280, 720) == fitted


def frames_of(samples: np.ndarray, rate_hz: int, layout: str = "mono") -> list[av.AudioFrame]:
    """Blocks of 1,024 samples [channels, n] as frames with times."""
    frames = []
    for first in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, first : first + 1024]), format="fltp", layout=layout
        )
        frame.sample_rate = rate_hz
        frames.append(frame)
    return frames


def test_sound_is_placed_by_its_time_to_the_sample_and_gaps_are_silent() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(44_100) / 44_100)).astype(np.float32)[None]
    placer = SoundPlacer(RATE_HZ, 10.0, 2 * RATE_HZ)
    for at, frame in enumerate(frames_of(tone, 44_100)):
        gap_s = 0.5 if at >= 20 else 0.0  # as where a recording was interrupted
        placer.put(frame, 10.25 + at * 1024 / 44_100 + gap_s)
    placed = placer.finish()
    assert placed is not None
    gap = 20 * 1024 / 44_100
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    expected = 0.5 * np.sin(2 * np.pi * 300 * (time_s - 0.25)) * ((time_s >= 0.25) & (time_s < 0.25 + gap))
    late = 0.5 * np.sin(2 * np.pi * 300 * (time_s - 0.75)) * ((time_s >= 0.75 + gap) & (time_s < 1.75))
    away = np.ones(time_s.size, bool)
    for edge_s in (0.25, 0.25 + gap, 0.75 + gap, 1.75):  # a filter rings at edges
        away &= np.abs(time_s - edge_s) > 2e-3
    assert np.abs(placed - (expected + late))[:, away].max() < 5e-3


def test_times_that_a_container_rounded_leave_no_gap() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)[None]
    placer = SoundPlacer(RATE_HZ, 0.0, RATE_HZ)
    for at, frame in enumerate(frames_of(tone, RATE_HZ)):
        placer.put(frame, round(at * 1024 / RATE_HZ, 3))
    placed = placer.finish()
    assert placed is not None
    assert np.abs(np.diff(placed[0])).max() < 1.05 * np.abs(np.diff(tone[0])).max()


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_the_same_sound_is_as_loud_in_every_layout(layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
    placer = SoundPlacer(RATE_HZ, 0.0, RATE_HZ)
    for at, frame in enumerate(frames_of(np.repeat(tone[None], channels, axis=0), RATE_HZ, layout)):
        placer.put(frame, at * 1024 / RATE_HZ)
    placed = placer.finish()
    assert placed is not None
    assert np.abs(placed[:, 1000:-1000]).max(axis=1) == pytest.approx([0.5, 0.5], abs=0.02)


def test_what_is_no_number_or_beyond_full_scale_is_made_sound() -> None:
    broken = np.full((1, 4096), np.nan, np.float32)
    broken[0, ::2], broken[0, ::3] = 7.0, np.inf
    placer = SoundPlacer(RATE_HZ, 0.0, 4096)
    for at, frame in enumerate(frames_of(broken, RATE_HZ)):
        placer.put(frame, at * 1024 / RATE_HZ)
    placed = placer.finish()
    assert placed is not None
    assert np.isfinite(placed).all()
    assert np.abs(placed).max() <= 1.0


def test_a_fade_is_at_the_ends_alone() -> None:
    sound = np.ones((2, RATE_HZ), np.float32)
    result = faded(sound, RATE_HZ)
    edge = round(FADE_S * RATE_HZ)
    assert result[:, [0, -1]].max() < 1e-4
    assert (np.diff(result[0, :edge]) > 0).all()
    assert (result[:, edge:-edge] == 1).all()
    assert (sound == 1).all()
    assert faded(np.ones((2, 3), np.float32), RATE_HZ).shape == (2, 3)


@pytest.mark.parametrize("name", ["", "a tone", "two\nlines\tand more", "犬" * 5_000, "x" * 100_000])
def test_a_card_takes_any_name(name: str) -> None:
    card = title_card(name, 320, 180)
    assert (card.shape, card.dtype) == ((180, 320, 3), np.uint8)
    written = (card > 150).any(axis=(0, 2))
    assert written.any() == bool(name)
    assert not written[:8].any()
    assert not written[-8:].any()
