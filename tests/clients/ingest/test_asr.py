"""Speech recognised by a model of the real architecture with random weights: its words mean nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from resonance.clients.errors import UsageError
from resonance.clients.ingest import asr
from resonance.clients.ingest.asr import AsrOptions, Transcriber
from resonance.clients.media.words import read_cues
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor
from tests.clients.ingest.running import ingest, stored
from tests.clients.ingest.whisper import make_whisper

SPEECH = "speech_jfk_inaugural.flac"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")


def made(model: Path | str, cache: Path, language: str | None = None) -> Transcriber:
    return Transcriber(AsrOptions(model=str(model), cache=cache, language=language))


async def test_speech_gets_cues_a_language_and_a_place_in_the_cache(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    found = await made(model, tmp_path).transcript(lambda: path, "speech", "v1", descriptor)
    assert found is not None
    # CTranslate2 takes no model of this size for one of many languages, so none is told apart here
    assert (found.language, found.probability) == ("en", 1.0)
    with av.open(str(path)) as file:
        assert file.duration is not None
        length_s = file.duration / av.time_base
    assert all(0 <= start_s < end_s <= length_s + 30 for start_s, end_s, _ in found.cues)
    cues = read_cues(found.subtitles("speech"))
    assert [round(cue.start_s, 2) for cue in cues] == [round(start_s, 2) for start_s, _, _ in found.cues]
    cached = await made(model, tmp_path).transcript(lambda: Path("/nowhere"), "speech", "v1", descriptor)
    assert cached == found
    (entry,) = list(tmp_path.glob("*.json"))  # noqa: ASYNC240
    entry.write_text('{"language": ')
    assert await made(model, tmp_path).transcript(lambda: path, "speech", "v1", descriptor) == found


async def test_a_language_that_is_given_is_taken(
    model: Path, descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    path = media / "audio" / SPEECH
    found = await made(model, tmp_path, "fr").transcript(lambda: path, "speech", "v1", descriptor)
    assert found is not None
    assert (found.language, found.probability) == ("fr", 1.0)


async def test_no_speech_no_transcript(
    descriptor: Descriptor, model: Path, tmp_path: Path, library: Path
) -> None:
    transcriber = made(model, tmp_path / "cache")
    tone = library / "000007.wav"
    assert await transcriber.transcript(lambda: tone, "tone", "v1", descriptor) is None
    assert len(list((tmp_path / "cache").iterdir())) == 1  # that there is none is known from now on


async def test_what_has_words_or_no_sound_is_left_alone(
    descriptor: Descriptor, media: Path, tmp_path: Path, library: Path
) -> None:
    shutil.copy(media / "audio" / SPEECH, tmp_path / "talk.flac")
    (tmp_path / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nand so\n")
    transcriber = made("no model is asked", tmp_path / "cache")
    for path in (tmp_path / "talk.flac", library / "000008.png", library / "noise.webm"):
        assert await transcriber.transcript(lambda path=path: path, "it", "v1", descriptor) is None


async def test_a_model_that_is_not_there(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    path = media / "audio" / SPEECH
    with pytest.raises(UsageError, match=r"--asr /no/such/model: .*expected a folder with model\.bin"):
        await made("/no/such/model", tmp_path).transcript(lambda: path, "speech", "v1", descriptor)


def test_long_sound_comes_in_pieces_cut_where_it_is_quiet(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 s of noise with silence at 32 s, in pieces of at most 48 s."""
    monkeypatch.setattr(asr, "PIECE_S", 48.0)
    sound = np.random.default_rng(1).normal(scale=0.1, size=100 * 16_000)
    sound[int(31.5 * 16_000) : int(32.5 * 16_000)] = 0
    path = tmp_path / "long.wav"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16_000)
        stream.layout = "mono"
        samples = (sound[None] * 32767).clip(-32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    pieces = list(asr._pieces(path, "long", descriptor))
    assert pieces[0][1].size == 32 * 16_000
    assert pieces[1][0] == 32.0
    whole = np.concatenate([piece for _, piece in pieces])[: sound.size]
    assert np.abs(whole - sound).max() < 1e-3


def test_a_job_takes_recognised_words(model: Path, media: Path, server: TritonServer, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    shutil.copy(media / "audio" / SPEECH, source)
    code, summary, said = ingest(source, tmp_path / "plain", server.grpc_address)
    assert (code, summary["embedded"]) == (0, 1), said
    code, summary, said = ingest(source, tmp_path / "heard", server.grpc_address, "--asr", str(model))
    assert (code, summary["embedded"]) == (0, 1), said
    plain, heard = stored(tmp_path / "plain")[SPEECH], stored(tmp_path / "heard")[SPEECH]
    assert (plain["present"]["transcript"], heard["present"]["transcript"]) == (False, True)
    assert plain["language"] is None
    assert heard["language"] == "en"
    assert list((tmp_path / "heard" / "_resonance" / "transcripts").iterdir())
