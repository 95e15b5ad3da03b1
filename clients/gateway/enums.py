"""Words of the Python face as enums of resonance.v1, and back."""

from __future__ import annotations

from collections.abc import Mapping

from resonance.clients.errors import InvalidFieldError
from resonance.space.descriptor import MODALITIES
from resonance.v1 import embedding_pb2 as pb

_SAMPLINGS: Mapping[str | None, pb.Sampling] = {
    None: pb.SAMPLING_UNSPECIFIED,
    "keyframes": pb.SAMPLING_KEYFRAMES,
    "uniform": pb.SAMPLING_UNIFORM,
}
_MODALITIES: Mapping[str, pb.Modality] = {
    "visual": pb.MODALITY_VISUAL,
    "audio": pb.MODALITY_AUDIO,
    "transcript": pb.MODALITY_TRANSCRIPT,
}


def sampling_to_message(sampling: str | None) -> pb.Sampling:
    """``keyframes``, ``uniform``, or None for what the space says.

    Raises:
        InvalidFieldError: another word.
    """
    if sampling not in _SAMPLINGS:
        raise InvalidFieldError("sampling", f"'{sampling}'", "keyframes or uniform")
    return _SAMPLINGS[sampling]


def sampling_from_message(sampling: int, field: str = "sampling") -> str | None:
    """The inverse of `sampling_to_message`.

    Raises:
        InvalidFieldError: a number that stands for nothing.
    """
    for name, number in _SAMPLINGS.items():
        if number == sampling:
            return name
    raise InvalidFieldError(field, str(sampling), "SAMPLING_KEYFRAMES or SAMPLING_UNIFORM")


def modality_to_message(modality: str) -> pb.Modality:
    """``visual``, ``audio`` or ``transcript``.

    Raises:
        InvalidFieldError: another word.
    """
    if modality not in _MODALITIES:
        raise InvalidFieldError("modality", f"'{modality}'", " or ".join(MODALITIES))
    return _MODALITIES[modality]


def modality_from_message(modality: int, field: str = "modality") -> str:
    """The inverse of `modality_to_message`.

    Raises:
        InvalidFieldError: unspecified, or a number that stands for nothing.
    """
    for name, number in _MODALITIES.items():
        if number == modality:
            return name
    raise InvalidFieldError(field, str(modality), " or ".join(f"MODALITY_{m.upper()}" for m in MODALITIES))
