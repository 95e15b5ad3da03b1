"""What a sentence-transformers checkpoint says of its own pooling, layers and text, held against the card."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer

from resonance.export.checkpoints import Checkpoint, CheckpointError
from resonance.export.encoders import EncoderCard, Pooling

MODULES = "modules.json"
#: Classes of its modules that a graph of ours has too, by their last name.
_SERVED = ("Transformer", "Pooling", "Normalize")
_POOLINGS = {"mean": Pooling.MEAN, "cls": Pooling.CLS}
#: Files of before the library's version 6 have a switch for each way instead of `pooling_mode`.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: What it does to a text before the tokenizer: by the kind of encoder, as the library looks for it.
TEXT_SETTINGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_xlm-roberta_config.json",
)
PROMPTS = "config_sentence_transformers.json"
_CASED = "The TIDE of ÉCOLE"


def check_own_layers(card: EncoderCard, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that was trained with another pooling than the card's, or with a layer after it.

    One that says nothing of either is taken: the card decides. So is the one that the card names.

    Raises:
        CheckpointError: it was, or its files cannot be read.
    """
    modules = _own_modules(card, checkpoint)
    if modules is None:
        return
    pooling_folder = "1_Pooling"
    for path, kind in modules:
        if kind not in _SERVED:
            raise checkpoint.unusable(
                f"was trained with a {kind} layer ('{path}' in {MODULES}), which no encoder here has"
            )
        if kind == "Pooling":
            pooling_folder = path
    name = f"{pooling_folder}/config.json"
    settings = checkpoint.settings(name)
    if settings is None:
        return
    modes = _modes(checkpoint, name, settings)
    if [_POOLINGS.get(mode) for mode in modes] != [card.pooling]:
        raise _unlike(
            checkpoint,
            f"was trained with the pooling '{'+'.join(modes)}' ({name}), "
            f"card '{card.name}' has {card.pooling}",
            "of its pooling",
        )
    if card.prefix and card.pooling is Pooling.MEAN and settings.get("include_prompt") is False:
        raise _unlike(
            checkpoint,
            f"leaves its prompt out of the pooling ({name}: include_prompt), "
            f"card '{card.name}' counts '{card.prefix}' in",
            "without a prefix",
        )


def check_own_text(card: EncoderCard, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """Refuse a checkpoint whose library gives its encoder another text than `tokenizer` of the card does.

    As with `check_own_layers`, one that says nothing is taken.

    Raises:
        CheckpointError: it has a prompt for every text that is not the card's prefix, or lowers text whose
            case `tokenizer` keeps; or its files cannot be read.
    """
    if _own_modules(card, checkpoint) is None:
        return
    settings = _object(checkpoint, PROMPTS)
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    prompt = prompts.get(name) if name is not None and isinstance(prompts, dict) else None
    if prompt is not None and prompt != card.prefix:
        raise _unlike(
            checkpoint,
            f"puts '{prompt}' before every text ({PROMPTS}: default_prompt_name), "
            f"card '{card.name}' has the prefix '{card.prefix}'",
            "of its prefix",
        )
    if tokenizer.encode(_CASED).ids == tokenizer.encode(_CASED.lower()).ids:
        return
    for file in TEXT_SETTINGS:
        if _object(checkpoint, file).get("do_lower_case"):
            raise _unlike(
                checkpoint,
                f"was trained on lower case ({file}: do_lower_case), "
                f"card '{card.name}' keeps the case of a text",
                "that lowers it",
            )


def _own_modules(card: EncoderCard, checkpoint: Checkpoint) -> list[tuple[str, str]] | None:
    """Its modules; None where nothing of its own is to be held against the card."""
    if checkpoint.location == card.checkpoint and not checkpoint.is_folder:
        return None
    modules = checkpoint.settings(MODULES)
    if modules is None and not checkpoint.is_folder:
        return None  # the library reads nothing else then
    return _modules(checkpoint, modules or [])


def _unlike(checkpoint: Checkpoint, reason: str, fitting: str) -> CheckpointError:
    """The error for a checkpoint that a card `fitting` ("of its pooling") would be right for."""
    advice = (
        f"name another one with --checkpoint {checkpoint.model}=FOLDER_OR_ID, "
        f"or make a card {fitting} (docs/families.md)"
    )
    return CheckpointError(checkpoint.model, checkpoint.location, reason, advice)


def _object(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`; empty where there is no such file."""
    settings = checkpoint.settings(name)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise checkpoint.unusable(f"cannot be read: {name} is no object")
    return settings


def _modules(checkpoint: Checkpoint, modules: Any) -> list[tuple[str, str]]:
    """(folder, class) of each module, in their order."""
    try:
        return [(str(module["path"]), str(module["type"]).rpartition(".")[2]) for module in modules]
    except (TypeError, KeyError) as error:
        raise checkpoint.unusable(f"cannot be read: {MODULES} is no list of modules") from error


def _modes(checkpoint: Checkpoint, name: str, settings: Any) -> list[str]:
    if not isinstance(settings, dict):
        raise checkpoint.unusable(f"cannot be read: {name} is no object")
    mode = settings.get("pooling_mode")
    if mode is None:
        switched_on = [mode for switch, mode in _SWITCHES.items() if settings.get(switch)]
        return switched_on or ["mean"]  # the library's own default
    return [str(one) for one in (mode if isinstance(mode, list) else [mode])]
