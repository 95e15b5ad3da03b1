"""Checkpoints that cannot be used, heads that keep angles, and what a fingerprint covers."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError
from typer.testing import CliRunner

from resonance.clients.cli.main import make_app
from resonance.export.architectures import ARCHITECTURES
from resonance.export.architectures.own_layers import check_own_layers
from resonance.export.checkpoints import Checkpoint, CheckpointError, ChoiceError, parse_overrides
from resonance.export.encoders import EncoderCard, graph_card
from resonance.export.families import RECIPES, pretrained
from resonance.export.isometry import GRID, isometry
from resonance.export.weights import weights_sha256
from tests.export import random_checkpoints

MODELS = ("visual_encoder", "audio_encoder", "transcript_encoder")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoints.siglip(tmp_path_factory.mktemp("hub") / "siglip")


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoints.clap(tmp_path_factory.mktemp("hub") / "clap", fused=True)


def family_of(name: str) -> pretrained.PretrainedFamily:
    return next(f for f in pretrained.FAMILIES if f.name == name)


def build_visual(folder: Path) -> torch.nn.Module:
    checkpoint = Checkpoint("visual_encoder", str(folder))
    return graph_card(pretrained.SIGLIP_BASE, ARCHITECTURES["siglip"], checkpoint)[0].build()


# --- errors -------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name resolves to nothing, and waiting for another try takes no time."""

    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("no_network")
def test_a_hub_that_cannot_be_reached_is_one_line_with_the_offline_way() -> None:
    with pytest.raises(CheckpointError) as caught:
        family_of("siglip-clap-minilm").resolve({})
    message = str(caught.value)
    assert message == (
        "visual_encoder: checkpoint 'google/siglip-base-patch16-224' cannot be loaded (config.json: the hub "
        "cannot be reached); download its folder where there is a network, then give its path: "
        "--checkpoint visual_encoder=FOLDER"
    )


@pytest.mark.usefixtures("no_network")
def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(make_app(), ["export", "clip-clap-bge", "--model-repository", str(tmp_path)])
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.strip()]
    assert len(lines) == 1
    assert "openai/clip-vit-base-patch32" in lines[0]
    assert "--checkpoint visual_encoder=FOLDER" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["tiny", "--checkpoint", "visual_encoder=x"], "family 'tiny' takes no checkpoints"),
        (["siglip-clap", "--checkpoint", "visual=x"], "MODEL is one of visual_encoder, audio_encoder"),
        (["siglip-clap", "--checkpoint", "visual_encoder"], "is no MODEL=FOLDER_OR_ID"),
        (["siglip-clap", "--checkpoint", "visual_encoder=/no/such/folder"], "is no folder on this machine"),
    ],
)
def test_a_wrong_choice_is_one_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(make_app(), ["export", *arguments, "--model-repository", str(tmp_path)])
    assert result.exit_code == 1
    assert complaint in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_overrides_name_each_encoder_once() -> None:
    pairs = ["visual_encoder=/a=b", "audio_encoder=laion/x"]
    assert parse_overrides(pairs, MODELS) == {"visual_encoder": "/a=b", "audio_encoder": "laion/x"}
    with pytest.raises(ChoiceError, match="two checkpoints for audio_encoder: 'a' and 'b'"):
        parse_overrides(["audio_encoder=a", "audio_encoder=b"], MODELS)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"visual_encoder: .* has no config\.json"):
        Checkpoint("visual_encoder", str(tmp_path)).config()


@pytest.mark.parametrize("part", ["config", "tokenizer"])
def test_code_that_a_checkpoint_brings_is_not_run_whatever_is_answered(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ran = tmp_path / "checkpoint", tmp_path / "ran"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "ours", "auto_map": {"AutoConfig": "brought.Config"}}'
    )
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["brought.T", null]}}')
    (folder / "brought.py").write_text(
        f"open({str(ran)!r}, 'w')\n"
        "from transformers import PretrainedConfig as Config, PreTrainedTokenizer as T\n"
    )
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *prompt: "y")
    with pytest.raises(CheckpointError):
        getattr(Checkpoint("visual_encoder", str(folder)), part)()
    assert not ran.exists()


def test_a_checkpoint_of_another_architecture_is_refused(clap: Path) -> None:
    with pytest.raises(CheckpointError, match="is of type 'clap', the card expects siglip"):
        build_visual(clap)


def test_a_checkpoint_that_lacks_weights_is_refused(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "partial"
    shutil.copytree(siglip, folder)
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    kept = {name: value for name, value in weights.items() if "vision_model.head" not in name}
    safetensors.torch.save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights of SiglipModel \(vision_model\.head"):
        build_visual(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"intermediate_size": 48},
            r"has 9 weights of other shapes than by its config\.json "
            r"\(vision_model\.encoder\.layers\.0\.mlp\.fc1\.bias \[64\], not \[48\], .*, …\); name another",
        ),
        (
            {"num_hidden_layers": 1},
            r"has layers that its config\.json does not \(vision_model\.encoder\.layers\.1\); name another",
        ),
    ],
)
def test_weights_of_another_model_than_the_config_are_refused(
    change: dict[str, int], reason: str, siglip: Path, tmp_path: Path
) -> None:
    """Half an encoder would be served otherwise, and nothing would say so."""
    folder = Path(shutil.copytree(siglip, tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=reason) as caught:
        build_visual(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_what_a_published_file_has_besides_is_left_out(prefix: str, tmp_path: Path) -> None:
    """Poolers, heads, buffers and other towers stand in one file with what is used; layers count all the
    same, also under the name that they have in a whole model."""
    folder = random_checkpoints.bert(tmp_path / "bert")
    path = folder / "model.safetensors"
    weights = {f"{prefix}{k}": v for k, v in safetensors.torch.load_file(path).items()}
    names = ("cls.predictions.transform.7.weight", "embeddings.position_ids", "tower.encoder.layer.99.weight")
    weights |= dict.fromkeys((*names, f"{prefix}pooler.dense.bias"), torch.zeros(1))
    written = {name: value.clone() for name, value in weights.items()}
    safetensors.torch.save_file(written, path, metadata={"format": "pt"})
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    checkpoint.weights(transformers.AutoModel, add_pooling_layer=False)
    written[f"{prefix}encoder.layer.2.attention.self.key.bias"] = torch.zeros(1)
    safetensors.torch.save_file(written, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"does not \(encoder\.layer\.2\)"):
        checkpoint.weights(transformers.AutoModel, add_pooling_layer=False)


def test_broken_weights_are_refused_in_one_line(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(siglip, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be read: the weights") as caught:
        build_visual(folder)
    assert "\n" not in str(caught.value)


def without_vocabulary(folder: Path, tokenizer_class: str) -> Path:
    """`folder` without the file that holds the words; with `tokenizer_class`, where one is given."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    if tokenizer_class:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer_class}))
    return folder


@pytest.mark.parametrize(
    ("card", "make", "tokenizer_class"),
    [
        (pretrained.MINILM, random_checkpoints.bert, ""),
        (pretrained.MINILM, random_checkpoints.bert, "BertTokenizer"),
        (pretrained.E5_BASE, random_checkpoints.xlm_roberta, ""),
        (pretrained.E5_BASE, random_checkpoints.xlm_roberta, "XLMRobertaTokenizer"),
        (pretrained.SIGLIP2_BASE_TEXT, lambda f: random_checkpoints.siglip(f, gemma=True), "GemmaTokenizer"),
    ],
    ids=["bert", "bert, of a class", "xlm-roberta", "xlm-roberta, of a class", "gemma, of a class"],
)
def test_a_checkpoint_without_a_vocabulary_is_refused(
    card: EncoderCard, make: Callable[[Path], Path], tokenizer_class: str, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(
        "transcript_encoder", str(without_vocabulary(make(tmp_path / "c"), tokenizer_class))
    )
    with pytest.raises(
        CheckpointError, match=r"every word is unknown to it; its vocabulary \(.*\) is missing"
    ) as caught:
        graph_card(card, ARCHITECTURES[card.architecture], checkpoint)
    assert "tokenizer.json" in str(caught.value)


def test_a_hub_cache_without_a_vocabulary_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = random_checkpoints.bert(tmp_path / "whole")
    cached = tmp_path / "hub" / "models--owner--name"
    snapshot = cached / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(whole / "config.json", snapshot)  # asked for before the tokenizer is
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    checkpoint = Checkpoint("transcript_encoder", "owner/name")
    assert checkpoint.config().model_type == "bert"
    read = transformers.AutoTokenizer.from_pretrained

    def reached(location: str, *, local_files_only: bool = False, **how: Any) -> Any:
        if not local_files_only:
            shutil.copytree(whole, snapshot, dirs_exist_ok=True)
        return read(location, local_files_only=True, **how)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", reached)
    assert checkpoint.tokenizer().get_vocab() == read(whole).get_vocab()


def test_a_tokenizer_with_more_tokens_than_the_encoder_is_refused(siglip: Path, tmp_path: Path) -> None:
    sentences = random_checkpoints.bert(tmp_path / "bert")
    pair = shutil.copytree(siglip, tmp_path / "siglip")
    for card, folder in ((pretrained.MINILM, sentences), (pretrained.SIGLIP_BASE_TEXT, pair)):
        checkpoint = Checkpoint("transcript_encoder", str(folder))
        _, text = graph_card(card, ARCHITECTURES[card.architecture], checkpoint)
        assert text is not None
        largest = max(text.tokenizer.get_vocab().values())
        path = folder / "config.json"
        settings = json.loads(path.read_text())
        for rows, refused in ((largest, True), (largest + 1, False)):
            settings.get("text_config", settings)["vocab_size"] = rows
            path.write_text(json.dumps(settings))
            if refused:
                said = f"ids reach {largest} and embeddings of {rows} tokens"
                with pytest.raises(CheckpointError, match=said):
                    graph_card(card, ARCHITECTURES[card.architecture], checkpoint)
            else:
                graph_card(card, ARCHITECTURES[card.architecture], checkpoint)


LIBRARY = "sentence_transformers.models."
MEAN_SWITCH, CLS_SWITCH = "pooling_mode_mean_tokens", "pooling_mode_cls_token"


def describe_layers(folder: Path, pooling: dict[str, Any], *more: str) -> Path:
    """`folder` with the files that sentence-transformers writes: a pooling, and `more` kinds after it."""
    paths = ["", "own_pooling", *(f"{2 + i}_{kind}" for i, kind in enumerate(more))]
    kinds = ["Transformer", "Pooling", *more]
    modules = [{"path": path, "type": LIBRARY + kind} for path, kind in zip(paths, kinds, strict=True)]
    (folder / "own_pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "own_pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoints.bert(tmp_path_factory.mktemp("hub") / "bert")


@pytest.mark.parametrize(
    ("pooling", "says"),
    [
        ({MEAN_SWITCH: True, CLS_SWITCH: False}, ""),
        ({"pooling_mode": "mean"}, ""),
        ({}, ""),  # the library's default
        ({MEAN_SWITCH: False, CLS_SWITCH: True}, "'cls'"),
        ({"pooling_mode": "cls"}, "'cls'"),
        ({"pooling_mode": ["mean", "max"]}, r"'mean\+max'"),
        ({MEAN_SWITCH: True, CLS_SWITCH: True}, r"'cls\+mean'"),
        ({"pooling_mode": "lasttoken"}, "'lasttoken'"),
    ],
)
def test_a_folder_that_pools_unlike_its_card_is_refused(
    pooling: dict[str, Any], says: str, sentences: Path, tmp_path: Path
) -> None:
    folder = describe_layers(shutil.copytree(sentences, tmp_path / "c"), pooling, "Normalize")
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    if not says:
        check_own_layers(pretrained.MINILM, checkpoint)
        return
    said = rf"the pooling {says} \(own_pooling/config\.json\), card 'minilm' has masked mean; name another"
    with pytest.raises(CheckpointError, match=said):
        graph_card(pretrained.MINILM, ARCHITECTURES["sentences"], checkpoint)
    if says == "'cls'":
        check_own_layers(pretrained.BGE_M3, checkpoint)


def test_a_folder_with_a_layer_after_its_pooling_is_refused(sentences: Path, tmp_path: Path) -> None:
    folder = describe_layers(shutil.copytree(sentences, tmp_path / "c"), {}, "Dense", "Normalize")
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    with pytest.raises(CheckpointError, match=r"trained with a Dense layer \('2_Dense' in modules\.json\)"):
        graph_card(pretrained.MINILM, ARCHITECTURES["sentences"], checkpoint)
    (folder / "modules.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot be read: modules\.json: "):
        check_own_layers(pretrained.MINILM, checkpoint)
    (folder / "modules.json").write_text('{"a": 1}')
    with pytest.raises(CheckpointError, match=r"modules\.json is no list of modules"):
        check_own_layers(pretrained.MINILM, checkpoint)


QUERY = {"prompts": {"query": "query: ", "other": "x"}, "default_prompt_name": "query"}
LOWERS = {"max_seq_length": 256, "do_lower_case": True}


@pytest.mark.parametrize(
    ("file", "settings", "prefix", "cased", "says"),
    [
        (
            "sentence_bert_config.json",
            LOWERS,
            "",
            True,
            "was trained on lower case .* make a card that lowers",
        ),
        ("sentence_roberta_config.json", LOWERS, "", True, "was trained on lower case"),
        ("sentence_bert_config.json", LOWERS, "", False, ""),  # its tokenizer does it
        ("sentence_bert_config.json", {**LOWERS, "do_lower_case": False}, "", True, ""),
        ("sentence_bert_config.json", [], "", True, r"sentence_bert_config\.json is no object"),
        ("config_sentence_transformers.json", QUERY, "", False, "puts 'query: ' before every text"),
        ("config_sentence_transformers.json", QUERY, "passage: ", False, "has the prefix 'passage: '"),
        ("config_sentence_transformers.json", QUERY, "query: ", False, ""),
        ("config_sentence_transformers.json", {**QUERY, "default_prompt_name": None}, "", False, ""),
        (
            "own_pooling/config.json",
            {"include_prompt": False},
            "query: ",
            False,
            "'query: ' in; .* without a",
        ),
        ("own_pooling/config.json", {"include_prompt": False}, "", False, ""),
    ],
)
def test_a_folder_that_reads_text_unlike_its_card_is_refused(
    file: str, settings: Any, prefix: str, cased: bool, says: str, sentences: Path, tmp_path: Path
) -> None:
    folder = describe_layers(shutil.copytree(sentences, tmp_path / "c"), {})
    (folder / file).write_text(json.dumps(settings))
    if cased:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["normalizer"]["lowercase"] = False
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    card = replace(pretrained.MINILM, prefix=prefix)
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    if not says:
        graph_card(card, ARCHITECTURES["sentences"], checkpoint)
        return
    with pytest.raises(CheckpointError, match=says):
        graph_card(card, ARCHITECTURES["sentences"], checkpoint)
    if cased and isinstance(settings, dict):
        graph_card(replace(card, lowercase=True), ARCHITECTURES["sentences"], checkpoint)


def test_an_id_on_the_hub_is_asked_for_its_pooling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = describe_layers(tmp_path, {"pooling_mode": "cls"})
    asked: list[str] = []

    def download(location: str, name: str) -> str:
        asked.append(f"{location} {name}")
        if location == "of/another-kind":
            raise EntryNotFoundError("404")
        return str(described / name)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match="card 'minilm' has masked mean"):
        check_own_layers(pretrained.MINILM, Checkpoint("transcript_encoder", "owner/name"))
    check_own_layers(pretrained.MINILM, Checkpoint("transcript_encoder", "of/another-kind"))
    # a card is right about the checkpoint that it names
    check_own_layers(pretrained.MINILM, Checkpoint("transcript_encoder", pretrained.MINILM.checkpoint))
    assert asked == [
        "owner/name modules.json", "owner/name own_pooling/config.json", "of/another-kind modules.json",
    ]  # fmt: skip


@pytest.mark.usefixtures("no_network")
def test_a_hub_that_cannot_be_asked_leaves_the_pooling_to_the_card() -> None:
    check_own_layers(pretrained.MINILM, Checkpoint("transcript_encoder", "owner/name"))


def test_a_processor_that_does_not_fit_the_encoder_is_refused(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(siglip, folder)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "size": {"height": 256, "width": 256}}))
    with pytest.raises(CheckpointError, match="takes pictures of 224 px and its processor makes 256 px"):
        build_visual(folder)
    path.write_text(json.dumps({**settings, "resample": 1}))
    with pytest.raises(CheckpointError, match="resizes with filter 1"):
        build_visual(folder)
    path.write_text(json.dumps({**settings, "do_resize": False}))
    with pytest.raises(CheckpointError, match=r"image processor that does not resize \(do_resize\)"):
        build_visual(folder)


def test_a_card_that_asks_for_more_tokens_than_there_are_positions_is_refused(tmp_path: Path) -> None:
    folder = random_checkpoints.xlm_roberta(tmp_path / "xlm")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": 300}))
    checkpoint = Checkpoint("transcript_encoder", str(folder))
    with pytest.raises(CheckpointError, match="has 298 positions, card 'e5-base' wants 512"):
        graph_card(pretrained.E5_BASE, ARCHITECTURES["sentences"], checkpoint)


# --- heads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [24, 384, 512, 596])
def test_a_seeded_head_keeps_every_cosine(columns: int) -> None:
    matrix = isometry(596, columns, 1, "a").astype(np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(columns), atol=2e-6)
    np.testing.assert_array_equal(matrix / GRID, np.rint(matrix / GRID))  # the same on every machine


def test_a_head_that_must_narrow_keeps_lengths_on_average() -> None:
    matrix = isometry(596, 768, 1, "a").astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(596) * 768 / 596, atol=3e-6)


def test_two_towers_of_one_checkpoint_share_their_head(siglip: Path) -> None:
    picture = build_visual(siglip)
    checkpoint = Checkpoint("transcript_encoder", str(siglip))
    text = graph_card(pretrained.SIGLIP_BASE_TEXT, ARCHITECTURES["siglip-text"], checkpoint)[0].build()
    torch.testing.assert_close(picture.projection.weight, text.projection.weight, atol=0, rtol=0)


def test_two_towers_of_one_space_are_of_one_checkpoint(siglip: Path, clap: Path, tmp_path: Path) -> None:
    family, other = family_of("siglip-clap"), tmp_path / "other"
    shutil.copytree(siglip, other)
    where = {"visual_encoder": str(siglip), "transcript_encoder": str(other), "audio_encoder": str(clap)}
    for wrong in (where, {k: v for k, v in where.items() if k != "transcript_encoder"}):
        says = r"^transcript_encoder: .* is another than '.*siglip' of visual_encoder.*name the same for both"
        with pytest.raises(CheckpointError, match=says):
            family.resolve(wrong)
    (tmp_path / "link").symlink_to(siglip)
    family.resolve({**where, "transcript_encoder": str(tmp_path / "link")})


def test_all_of_an_encoder_lives_under_encoder_and_ours_is_the_projection(siglip: Path) -> None:
    names = {name.split(".")[0] for name, _ in build_visual(siglip).named_parameters()}
    assert names == {"encoder", "projection"}


# --- fingerprints -------------------------------------------------------------------------------------


def test_where_a_folder_stands_does_not_change_the_space(siglip: Path, clap: Path, tmp_path: Path) -> None:
    family = family_of("siglip-clap")
    copy = tmp_path / "elsewhere"
    shutil.copytree(siglip, copy)

    def fingerprint(folder: Path) -> str:
        where = {"visual_encoder": str(folder), "transcript_encoder": str(folder), "audio_encoder": str(clap)}
        card = family.resolve(where)
        weights = {g.model: weights_sha256(g.build()) for g in card.graphs}
        descriptor = card.describe(weights)
        assert str(folder) not in descriptor.to_json()
        return descriptor.fingerprint

    assert fingerprint(siglip) == fingerprint(copy)


def test_running_statistics_count_as_weights(clap: Path) -> None:
    checkpoint = Checkpoint("audio_encoder", str(clap))
    module = graph_card(pretrained.CLAP_FUSED, ARCHITECTURES["clap"], checkpoint)[0].build()
    before = weights_sha256(module)
    module.encoder.audio_model.audio_encoder.batch_norm.running_mean.add_(1)
    assert weights_sha256(module) != before


def test_recipes_name_the_models_a_checkpoint_can_be_chosen_for() -> None:
    assert all(recipe.models == MODELS for recipe in RECIPES.values())
