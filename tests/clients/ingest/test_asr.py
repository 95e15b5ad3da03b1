"""Speech recognised by a model of the real architecture with random weights: its words mean nothing."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.ingest import asr_sound
from resonance.clients.ingest.asr import AsrOptions, Transcriber, wants_words
from resonance.clients.ingest.asr_cache import Kept, Transcript, TranscriptCache
from resonance.clients.ingest.asr_model import model_identity
from resonance.clients.ingest.asr_sound import SAMPLE_RATE_HZ, pieces
from resonance.clients.ingest.errors import StoreError
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import FloatArray
from resonance.clients.media.words import read_cues
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor
from tests.clients.ingest.running import ingest, stored
from tests.clients.ingest.whisper import make_whisper

SPEECH = "speech_jfk_inaugural.flac"
SPEECH_S = 11.0  # its length


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")


@pytest.fixture(scope="module")
def speech(media: Path) -> FloatArray:
    with av.open(str(media / "audio" / SPEECH)) as file:
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
        blocks = [b.to_ndarray()[0] for frame in file.decode(audio=0) for b in resampler.resample(frame)]
    return np.concatenate(blocks)


class Followed(io.FileIO):
    """A file that knows how far it was read."""

    furthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self.furthest = max(self.furthest, self.tell())
        return data


def made(model: Path | str, cache: Path, language: str | None = None) -> Transcriber:
    return Transcriber(AsrOptions(model=str(model), cache=cache, language=language))


def written(path: Path, sound: FloatArray) -> Path:
    """A WAV file of `sound`, float32 [samples] at 16 kHz."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ)
        stream.layout = "mono"
        samples = (sound[None] * 32767).clip(-32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def cut(path: Path, descriptor: Descriptor) -> list[tuple[float, FloatArray]]:
    with open_media(path, descriptor, modalities={"audio"}) as reader:
        return list(pieces(reader.segments()))


async def test_speech_gets_cues_a_language_and_a_place_in_the_cache(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    found = await made(model, tmp_path).transcript(lambda: path, "speech", "v1", descriptor)
    assert found is not None
    # one of 99, told by random weights: none is much likelier than another
    assert len(found.language) in (2, 3)
    assert 1 / 99 < found.probability < 0.5
    assert found.cues
    assert all(0 <= start_s < end_s <= SPEECH_S for start_s, end_s, _ in found.cues)
    cues = read_cues(found.subtitles("speech"))
    assert [round(cue.start_s, 2) for cue in cues] == [round(start_s, 2) for start_s, _, _ in found.cues]
    cached = await made(model, tmp_path).transcript(lambda: Path("/nowhere"), "speech", "v1", descriptor)
    assert cached == found
    again = await made(model, tmp_path / "new").transcript(lambda: path, "speech", "v1", descriptor)
    assert again == found


async def test_a_language_that_is_given_is_taken(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    found = await made(model, tmp_path, "fr").transcript(lambda: path, "speech", "v1", descriptor)
    assert found is not None
    assert (found.language, found.probability) == ("fr", 1.0)


async def test_a_language_that_the_model_does_not_know(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    english = make_whisper(tmp_path / "english", multilingual=False)
    for folder, language, expected in ((english, "fr", "expected one of en$"), (model, "xx", "af, am")):
        with pytest.raises(UsageError, match=f"--asr-language {language}: .*{expected}"):
            await made(folder, tmp_path, language).transcript(lambda: path, "speech", "v1", descriptor)
    found = await made(english, tmp_path).transcript(lambda: path, "speech", "v1", descriptor)
    assert found is not None
    assert (found.language, found.probability) == ("en", 1.0)


async def test_no_speech_no_transcript(
    descriptor: Descriptor, model: Path, tmp_path: Path, library: Path
) -> None:
    transcriber = made(model, tmp_path / "cache")
    tone = library / "000007.wav"
    assert await transcriber.transcript(lambda: tone, "tone", "v1", descriptor) is None
    # that there is none is known from now on
    assert await transcriber.transcript(lambda: Path("/nowhere"), "tone", "v1", descriptor) is None
    (entry,) = (tmp_path / "cache").iterdir()
    assert json.loads(entry.read_text()) == {"transcript": None}


async def test_what_has_words_or_no_sound_is_left_alone(
    descriptor: Descriptor, media: Path, tmp_path: Path, library: Path
) -> None:
    shutil.copy(media / "audio" / SPEECH, tmp_path / "talk.flac")
    (tmp_path / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nand so\n")
    transcriber = made("no model is asked", tmp_path / "cache")
    for path in (tmp_path / "talk.flac", library / "000008.png", library / "noise.webm"):
        assert await transcriber.transcript(lambda path=path: path, "it", "v1", descriptor) is None


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"audio/{SPEECH}", True),
        ("video/space_webb_telescope_cleanroom.mp4", False),  # subtitles inside
        ("odd/streams_subtitle_only.mkv", False),
    ],
)
def test_what_wants_words(media: Path, path: str, wanted: bool) -> None:
    assert wants_words(lambda: media / path, path) is wanted
    assert wants_words(lambda: (media / path).open("rb"), path) is wanted


async def test_who_waits_no_longer_frees_the_recogniser_and_others_do_not_wait_for_it(
    model: Path,
    descriptor: Descriptor,
    media: Path,
    speech: FloatArray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asr_sound, "PIECE_S", 48.0)
    hour = written(tmp_path / "hour.wav", np.tile(speech, round(3600 / SPEECH_S)))
    opened: list[Followed] = []

    def open_hour() -> Followed:
        opened.append(Followed(hour))
        return opened[-1]

    transcriber = made(model, tmp_path / "cache")
    short = media / "audio" / SPEECH
    assert await transcriber.transcript(lambda: short, "short", "v1", descriptor) is not None
    long = asyncio.create_task(transcriber.transcript(open_hour, "hour", "v2", descriptor))
    await asyncio.sleep(1)
    assert not long.done()
    assert await transcriber.transcript(lambda: short, "short", "v1", descriptor) is not None  # kept
    picture = media / "video" / "space_webb_telescope_cleanroom.mp4"
    assert await transcriber.transcript(lambda: picture, "picture", "v3", descriptor) is None  # has words
    assert not long.done()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    assert await transcriber.transcript(lambda: short, "short", "v4", descriptor) is not None
    assert opened[-1].closed
    assert 0 < opened[-1].furthest < 0.75 * hour.stat().st_size
    assert len(list((tmp_path / "cache").iterdir())) == 2


async def test_the_same_bytes_twice_are_recognised_once(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    asked: list[Path] = []

    def opened() -> Path:
        asked.append(path)
        return path

    transcriber = made(model, tmp_path)
    first, second = await asyncio.gather(
        *(transcriber.transcript(opened, name, "v1", descriptor) for name in ("one", "two"))
    )
    assert first == second
    assert first is not None
    assert len(asked) == 3  # each to see what it holds, one to hear it


async def test_a_model_that_is_not_there(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    path = media / "audio" / SPEECH
    with pytest.raises(UsageError, match=r"--asr /no/such/model: .*expected a folder with model\.bin"):
        await made("/no/such/model", tmp_path).transcript(lambda: path, "speech", "v1", descriptor)


async def test_a_model_that_does_not_fit_its_description(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    shutil.copytree(model, tmp_path / "model")
    description = tmp_path / "model" / "preprocessor_config.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "feature_size": 128}))
    with pytest.raises(UsageError, match=r"--asr .*128.*expected a folder with model\.bin"):
        await made(tmp_path / "model", tmp_path).transcript(lambda: path, "speech", "v1", descriptor)


def test_a_model_is_known_by_its_files(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "elsewhere")
    named = model_identity(str(model))
    assert model_identity(str(tmp_path / "elsewhere")) == named
    with (tmp_path / "elsewhere" / "model.bin").open("r+b") as file:
        file.seek(-1, 2)
        (last,) = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    assert model_identity(str(tmp_path / "elsewhere")) != named
    assert model_identity("large-v3") == "large-v3"


FOUND = Transcript("yue", 0.75, "a model", ((0.0, 1.5, "海 – „sea“"), (1.5, 2.0, "and so")))


@pytest.mark.parametrize("kept", [Kept(FOUND), Kept(None)])
def test_what_is_kept_is_found_under_its_key_alone(kept: Kept, tmp_path: Path) -> None:
    cache = TranscriptCache(tmp_path / "cache")
    cache.write(("v1", "model", None), kept)
    assert cache.read(("v1", "model", None)) == kept
    for other in (("v2", "model", None), ("v1", "model 2", None), ("v1", "model", "en")):
        assert cache.read(other) is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"",
        lambda whole: b"[]",
        lambda whole: b"{}",
        lambda whole: b'{"transcript": []}',
        lambda whole: whole.replace(b'"cues": ', b'"cues": null, "no": '),
        lambda whole: whole.replace(b"1.5", b'"late"'),
        lambda whole: whole.replace(b"0.75", b"null"),
        lambda whole: b"\xff" + whole,
    ],
)
def test_a_broken_file_of_the_cache_counts_as_none(broken: Callable[[bytes], bytes], tmp_path: Path) -> None:
    cache = TranscriptCache(tmp_path)
    cache.write(("v1",), Kept(FOUND))
    (path,) = tmp_path.iterdir()
    path.write_bytes(broken(path.read_bytes()))
    assert cache.read(("v1",)) is None
    cache.write(("v1",), Kept(FOUND))
    assert cache.read(("v1",)) == Kept(FOUND)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"a transcript cannot be kept .*--asr-cache"):
        TranscriptCache(tmp_path / "file").write(("v1",), Kept(None))


def test_long_sound_comes_in_pieces_cut_where_it_is_quiet(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 s of noise with silence from 40.5 to 41.5 s, in pieces of at most 48 s."""
    monkeypatch.setattr(asr_sound, "PIECE_S", 48.0)
    sound = np.random.default_rng(1).normal(scale=0.1, size=100 * SAMPLE_RATE_HZ).astype(np.float32)
    sound[int(40.5 * SAMPLE_RATE_HZ) : int(41.5 * SAMPLE_RATE_HZ)] = 0
    found = cut(written(tmp_path / "long.wav", sound), descriptor)
    starts_s = [start_s for start_s, _ in found]
    assert len(found) == 3
    assert starts_s[0] == 0
    assert 40.5 < starts_s[1] < 41.5
    ends_s = [start_s + piece.size / SAMPLE_RATE_HZ for start_s, piece in found]
    assert ends_s == pytest.approx([*starts_s[1:], 100.0])
    assert np.abs(np.concatenate([piece for _, piece in found]) - sound).max() < 1e-3


def test_long_silence_lies_between_pieces_short_silence_in_one(
    descriptor: Descriptor, tmp_path: Path
) -> None:
    """Noise until 10 s, from 40 to 50 s, and from 130 to 135 s."""
    sound = np.zeros(140 * SAMPLE_RATE_HZ, np.float32)
    noise = np.random.default_rng(1).normal(scale=0.1, size=sound.size).astype(np.float32)
    for start_s, end_s in ((0, 10), (40, 50), (130, 135)):
        at = slice(start_s * SAMPLE_RATE_HZ, end_s * SAMPLE_RATE_HZ)
        sound[at] = noise[at]
    found = cut(written(tmp_path / "gaps.wav", sound), descriptor)
    # windows of 8 s: the last that holds noise ends at 56 s, the next that does starts at 128 s
    assert [(start_s, piece.size / SAMPLE_RATE_HZ) for start_s, piece in found] == [(0, 56), (128, 8)]
    for start_s, piece in found:
        first = round(start_s * SAMPLE_RATE_HZ)
        assert np.abs(piece - sound[first : first + piece.size]).max() < 1e-3


def test_a_job_takes_recognised_words(model: Path, media: Path, server: TritonServer, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(media / "audio" / SPEECH, source)
    code, summary, said = ingest(source, tmp_path / "plain", server.grpc_address)
    assert (code, summary["embedded"]) == (0, 1), said
    asr = ("--asr", str(model), "--asr-language", "fr")
    code, summary, said = ingest(source, tmp_path / "heard", server.grpc_address, *asr)
    assert (code, summary["embedded"]) == (0, 1), said
    plain, heard = stored(tmp_path / "plain")[SPEECH], stored(tmp_path / "heard")[SPEECH]
    assert (plain["present"]["transcript"], heard["present"]["transcript"]) == (False, True)
    assert len(heard["segments"]) == len(plain["segments"])  # no cue lies behind the end
    assert plain["language"] is None
    assert heard["language"] == "fr"
    assert list((tmp_path / "heard" / "_resonance" / "transcripts").iterdir())


def test_another_model_in_the_same_folder_is_another_version(
    model: Path, media: Path, server: TritonServer, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(media / "audio" / SPEECH, source)
    shutil.copytree(model, tmp_path / "model")
    for embedded in (1, 0, 1):
        given = ("--asr", str(tmp_path / "model"))
        code, summary, said = ingest(source, tmp_path / "out", server.grpc_address, *given)
        assert (code, summary["embedded"], summary["stored"]) == (0, embedded, 1), said
        if not embedded:
            with (tmp_path / "model" / "preprocessor_config.json").open("a") as file:
                file.write("\n")
    assert len(list((tmp_path / "out" / "_resonance" / "transcripts").iterdir())) == 2


def test_a_job_whose_model_is_not_there_says_so(media: Path, server: TritonServer, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(media / "audio" / SPEECH, source)
    code, _, said = ingest(source, tmp_path / "out", server.grpc_address, "--asr", "/no/such/model")
    assert code == 2, said
    assert "/no/such/model" in said
    assert "Traceback" not in said
