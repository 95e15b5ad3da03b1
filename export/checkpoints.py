"""Pretrained checkpoints: a local folder or a hub id, read through transformers' own `from_pretrained`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Characters of a library's own message that are repeated in ours.
_REASON_CHARACTERS = 200
#: A checkpoint may bring Python of its own; transformers asks at the terminal whether to run it, and would.
_DATA_ALONE = {"trust_remote_code": False}
#: Of several scripts: a vocabulary that is there knows a piece of one of them.
_WORDS = ("tide", "вода", "水", "पानी", "물", "ماء")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used. One line: the graph, the checkpoint, what failed and what to do."""

    def __init__(self, model: str, location: str, reason: str, advice: str) -> None:
        super().__init__(f"{model}: checkpoint '{location}' {reason}; {advice}")


class ChoiceError(ValueError):
    """``--checkpoint`` was given something it does not understand."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the encoder of one graph comes from. Nothing is read before a method is called.

    Attributes:
        model: the graph it is for, as in `resonance.export.contract`.
        location: a folder on this machine, or a hub id (``owner/name``).

    Every method raises CheckpointError when a file is missing, broken, or the hub cannot be reached.
    """

    model: str
    location: str

    @property
    def is_folder(self) -> bool:
        """Whether `location` means a folder; a hub id has one slash at most and begins with a name."""
        return (
            Path(self.location).expanduser().exists()
            or self.location.startswith((".", "/", "~"))
            or self.location.count("/") > 1
        )

    @property
    def source(self) -> str:
        """What a descriptor says of the origin; of a folder its name alone, for paths are private."""
        if not self.is_folder:
            return self.location
        return f"local folder {Path(self.location).expanduser().resolve().name}"

    def is_that_of(self, other: Checkpoint) -> bool:
        """Whether both are read from one folder, or one id."""
        if self.is_folder and other.is_folder:
            ours, theirs = (Path(c.location).expanduser().resolve() for c in (self, other))
            return ours == theirs
        return self.location == other.location

    def config(self) -> Any:
        """The checkpoint's configuration, as transformers' class of its architecture."""
        import transformers

        return self._load("config.json", transformers.AutoConfig.from_pretrained)

    def image_processor(self) -> Any:
        """The picture preprocessing the checkpoint was made for."""
        import transformers

        return self._load("the image processor's config", transformers.AutoImageProcessor.from_pretrained)

    def feature_extractor(self) -> Any:
        """The sound preprocessing the checkpoint was made for."""
        import transformers

        read = transformers.AutoFeatureExtractor.from_pretrained
        return self._load("the feature extractor's config", read)

    def tokenizer(self) -> Any:
        """transformers' tokenizer of the checkpoint.

        Where the vocabulary's file is missing, transformers makes a tokenizer to which every word is
        unknown; that is refused here.
        """
        import transformers

        def read(location: str, **how: Any) -> Any:
            tokenizer = transformers.AutoTokenizer.from_pretrained(location, **how)
            _check_words(tokenizer)
            return tokenizer

        return self._load("the tokenizer", read)

    def weights(self, model_class: Any, **options: Any) -> Any:
        """The torch module, float32, in eval mode, every one of its weights from the checkpoint.

        transformers fills what a file lacks with random numbers, and leaves out layers that config.json does
        not have; both are refused here. Other weights may be left out: heads, poolers, towers.
        """
        import torch

        def read(location: str, **how: Any) -> Any:
            return model_class.from_pretrained(
                location,
                output_loading_info=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # or it raises, and points to a report that is not shown
                **options,
                **how,
            )

        module, report = self._load("the weights", read)
        missing = sorted(report["missing_keys"])
        if missing:
            raise self.unusable(f"lacks {len(missing)} weights of {model_class.__name__} ({_named(missing)})")
        shapes = [
            f"{name} {list(came)}, not {list(wanted)}"
            for name, came, wanted in sorted(report["mismatched_keys"])
        ]
        if shapes:
            raise self.unusable(
                f"has {len(shapes)} weights of other shapes than by its config.json ({_named(shapes)})"
            )
        layers = _more_layers(module, report["unexpected_keys"])
        if layers:
            raise self.unusable(f"has layers that its config.json does not ({_named(layers)})")
        return module.eval()

    def settings(self, name: str) -> Any:
        """What the JSON file `name` holds; None where the checkpoint has no such file.

        None, too, where it is not in the hub's cache and the hub cannot be reached.
        """
        path = Path(self.location).expanduser() / name if self.is_folder else self._fetched(name)
        if path is None or not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.unusable(f"cannot be read: {name}: {_first_line(error)}") from error

    def _fetched(self, name: str) -> Path | None:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        cached = huggingface_hub.try_to_load_from_cache(self.location, name)
        if cached is not None:  # its path, or the mark that the hub has none
            return Path(cached) if isinstance(cached, str) else None
        try:
            with _quiet():
                return Path(huggingface_hub.hf_hub_download(self.location, name))
        except EntryNotFoundError:
            return None
        except Exception as error:
            raise self._not_loaded(name, error) from error

    def unusable(self, reason: str) -> CheckpointError:
        """The error for a checkpoint that can be read but not used."""
        advice = f"name another one with --checkpoint {self.model}=FOLDER_OR_ID"
        return CheckpointError(self.model, self.location, reason, advice)

    def _load(self, what: str, read: Callable[..., Any]) -> Any:
        if self.is_folder:
            folder = Path(self.location).expanduser()
            if not (folder / "config.json").is_file():
                reason = "has no config.json" if folder.is_dir() else "is no folder on this machine"
                raise self.unusable(reason)
            try:
                with _quiet():
                    return read(str(folder), local_files_only=True, **_DATA_ALONE)
            except Exception as error:  # parsers of several libraries, each with errors of its own
                raise self.unusable(f"cannot be read: {what}: {_first_line(error)}") from error
        try:  # what was downloaded before needs no network
            with _quiet():
                return read(self.location, local_files_only=True, **_DATA_ALONE)
        except Exception:
            try:
                with _quiet():
                    return read(self.location, **_DATA_ALONE)
            except Exception as error:
                raise self._not_loaded(what, error) from error

    def _not_loaded(self, what: str, error: Exception) -> CheckpointError:
        reason = "the hub cannot be reached" if _unreachable(error) else _first_line(error)
        return CheckpointError(
            self.model,
            self.location,
            f"cannot be loaded ({what}: {reason})",
            "download its folder where there is a network, then give its path: "
            f"--checkpoint {self.model}=FOLDER",
        )


def parse_overrides(pairs: Sequence[str], models: Sequence[str]) -> Mapping[str, str]:
    """``MODEL=FOLDER_OR_ID`` pairs as a mapping.

    Raises:
        ChoiceError: a pair has no such form, or names a model that is not of `models`, or one twice.
    """
    chosen: dict[str, str] = {}
    for pair in pairs:
        model, equals, location = pair.partition("=")
        if not equals or not location:
            raise ChoiceError(f"'{pair}' is no MODEL=FOLDER_OR_ID")
        if model not in models:
            raise ChoiceError(f"'{pair}' names no encoder; MODEL is one of {', '.join(models)}")
        if model in chosen:
            raise ChoiceError(f"two checkpoints for {model}: '{chosen[model]}' and '{location}'")
        chosen[model] = location
    return chosen


def _named(names: Sequence[str]) -> str:
    """The first three."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _more_layers(module: Any, unexpected: Iterable[str]) -> list[str]:
    """Layers that `unexpected` weights are of, in lists of layers that `module` has fewer in."""
    import torch

    lists = {
        name: len(part) for name, part in module.named_modules() if isinstance(part, torch.nn.ModuleList)
    }
    found = set()
    for key in unexpected:
        parts = key.removeprefix(f"{module.base_model_prefix}.").split(".")
        for at, part in enumerate(parts):
            length = lists.get(".".join(parts[:at]))
            if length is not None and part.isdigit() and int(part) >= length:
                found.add(".".join(parts[: at + 1]))
    return sorted(found)


def _check_words(tokenizer: Any) -> None:
    """Refuse a tokenizer that turns every word into unknown and special tokens.

    Raises:
        ValueError: it does.
    """
    special = set(tokenizer.all_special_ids)
    for word in _WORDS:
        if not special.issuperset(tokenizer(word, add_special_tokens=False)["input_ids"]):
            return
    files = " or ".join(sorted(tokenizer.vocab_files_names.values()))
    raise ValueError(
        f"it has {len(tokenizer)} tokens and every word is unknown to it; its vocabulary ({files}) is missing"
    )


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + "…"


def _unreachable(error: BaseException) -> bool:
    """Whether a failed connection stands in the error's causes."""
    seen: BaseException | None = error
    while seen is not None:
        name = type(seen).__name__
        connection = isinstance(seen, ConnectionError) or name in (
            "ConnectError", "ConnectTimeout", "LocalEntryNotFoundError", "OfflineModeIsEnabled",
        )  # fmt: skip
        if connection or "couldn't connect" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, retries and advice of the libraries: what matters is raised."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
        hub.setLevel(level)
