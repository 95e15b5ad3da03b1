"""What a sentence-transformers checkpoint says of its own pooling and layers, held against the card."""

from __future__ import annotations

from typing import Any

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


def check_own_layers(card: EncoderCard, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that was trained with another pooling than the card's, or with a layer after it.

    One that says nothing of either is taken: the card decides. So is the one that the card names.

    Raises:
        CheckpointError: it was, or its files cannot be read.
    """
    if checkpoint.location == card.checkpoint and not checkpoint.is_folder:
        return
    modules = checkpoint.settings(MODULES)
    if modules is None and not checkpoint.is_folder:
        return  # the library reads nothing else then
    pooling_folder = "1_Pooling"
    for path, kind in _modules(checkpoint, modules or []):
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
        raise CheckpointError(
            checkpoint.model,
            checkpoint.location,
            f"was trained with the pooling '{'+'.join(modes)}' ({name}), "
            f"card '{card.name}' has {card.pooling}",
            f"name another one with --checkpoint {checkpoint.model}=FOLDER_OR_ID, "
            "or make a card of its pooling (docs/families.md)",
        )


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
