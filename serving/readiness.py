"""Ready means answered: one made-up inference through every model of the repository, ensembles included.

Triton's own readiness says only that models were loaded; it stays true when a stub process is dead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult, model_config_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from resonance.serving.decoder import SPARED_MODELS
from resonance.serving.errors import RepositoryError
from resonance.serving.probe_clip import probe_clip, probe_keyframe
from resonance.space.descriptor import Descriptor
from resonance.space.errors import DescriptorError

_log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

SPACE_MODEL = "space_descriptor"
SPACE_OUTPUT = "SPACE"

_FRAMES = 4
_TOKENS = 32
_SEGMENTS = 2
_TONE = 0.1 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(128_000)).astype(np.float32)


def _unit_blocks() -> Array:
    return np.full((_SEGMENTS, 3, 596), 596**-0.5, np.float32)


#: What is sent for the tensors of the contract, by name, without the batch axis. Any other tensor is
#: sent zeros of its declared dims, a variable one counting 1.
PROBES: Mapping[str, Callable[[], Array]] = {
    "TEXT": lambda: np.array([b"ready"], object),
    "IDS": lambda: np.ones(_TOKENS, np.int64),
    "MASK": lambda: np.ones(_TOKENS, np.int64),
    "CLIP": lambda: np.frombuffer(probe_clip(), np.uint8),
    "ENCODED": probe_keyframe,
    "COLOUR": lambda: np.eye(3, dtype=np.float32),
    "FRAMES": lambda: np.zeros((_FRAMES, 224, 224, 3), np.uint8),
    "FRAME_MASK": lambda: np.ones(_FRAMES, np.bool_),
    "FRAME_TIMES": lambda: np.arange(_FRAMES, dtype=np.float32),
    "PCM": lambda: _TONE,
    "PCM_LENGTH": lambda: np.array([_TONE.size], np.int64),
    "BLOCKS": _unit_blocks,
    "PRESENT": lambda: np.ones((_SEGMENTS, 3), np.bool_),
    "TIMES": lambda: np.arange(_SEGMENTS, dtype=np.float32),
}


def probe_inputs(config: model_config_pb2.ModelConfig) -> Arrays:
    """An input for every tensor that the model needs, batch axis included where it has one."""
    arrays: Arrays = {}
    for tensor in config.input:
        if tensor.optional:
            continue
        dtype = triton_to_np_dtype(_wire_type(tensor.data_type))
        array = PROBES[tensor.name]() if tensor.name in PROBES else None
        if array is None or array.dtype != dtype:
            filler = b"" if dtype == np.object_ else 0
            array = np.full([max(1, d) for d in tensor.dims], filler, dtype)
        arrays[tensor.name] = array[None] if config.max_batch_size > 0 else array
    return arrays


def failed_models(
    client: InferenceServerClient,
    wanted: Collection[str],
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Those of `wanted` that Triton could not load, its reason in one line; of a chain the first cause."""
    index = client.get_model_repository_index(headers=dict(headers or {}), client_timeout=timeout_s)
    reasons = {m.name: one_line(m.reason) for m in index.models if m.name in wanted and m.state != "READY"}
    # An ensemble over a model that failed has no reason of its own, or says what it depends on.
    causes = {name: why for name, why in reasons.items() if why and "depends on" not in why}
    return causes or reasons


def probe_all(
    client: InferenceServerClient,
    wanted: Collection[str],
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
) -> list[str]:
    """Send one inference through every model of `wanted`, at most `timeout_s` each.

    Args:
        headers: what Triton wants to see for its index of models (`admin.grpc_headers`).

    Returns:
        Names of those that answered, in order: all of them, but for `SPARED_MODELS`.

    Raises:
        RepositoryError: a model was not loaded or did not answer; names it, its inputs and the reason.
    """
    failed = failed_models(client, wanted, timeout_s, headers)
    spared = {name: why or "not loaded" for name, why in failed.items() if name in SPARED_MODELS}
    if failed.keys() - spared.keys():
        told = "; ".join(f"{name}: {why or 'not loaded'}" for name, why in failed.items())
        raise RepositoryError(f"model(s) could not be loaded: {told}")
    answered = []
    for name in sorted(set(wanted) - spared.keys()):
        try:
            probe(client, name, timeout_s)
        except RepositoryError as error:
            if name not in SPARED_MODELS:
                raise
            spared[name] = str(error)
        else:
            answered.append(name)
    for name, why in spared.items():
        _log.warning("serving without model %s, another stands in: %s", name, why)
    return answered


@dataclass(frozen=True, slots=True)
class Probe:
    """One made-up inference through a model.

    Attributes:
        name: the model's.
        inputs: tensors to be sent.
        sent: the same in words: names, dtypes and shapes.
        outputs: names of those that must come back.
    """

    name: str
    inputs: list[InferInput]
    sent: str
    outputs: list[str]

    @classmethod
    def of(cls, config: model_config_pb2.ModelConfig) -> Self:
        """The probe of the model that `config` describes."""
        arrays = probe_inputs(config)
        return cls(
            name=config.name,
            inputs=[_input(config, n, a) for n, a in arrays.items()],
            sent=", ".join(f"{n} {a.dtype}{list(a.shape)}" for n, a in arrays.items()) or "nothing",
            outputs=[t.name for t in config.output],
        )

    def read(self, result: InferResult) -> Arrays:
        """Every output of `result`.

        Raises:
            RepositoryError: one is missing.
        """
        outputs = {name: result.as_numpy(name) for name in self.outputs}
        absent = [name for name, array in outputs.items() if array is None]
        if absent:
            raise RepositoryError(
                f"model {self.name} answers its probe ({self.sent}) without {', '.join(absent)}"
            )
        return outputs


def probe(client: InferenceServerClient, name: str, timeout_s: float) -> Arrays:
    """Outputs of one made-up inference through model `name`.

    Raises:
        RepositoryError: it failed, took longer than `timeout_s`, or left an output out.
    """
    made_up = Probe.of(client.get_model_config(name, client_timeout=timeout_s).config)
    try:
        result = client.infer(name, made_up.inputs, client_timeout=timeout_s)
    except InferenceServerException as error:
        reason = one_line(error.message())
        raise RepositoryError(f"model {name} fails its probe ({made_up.sent}): {reason}") from error
    return made_up.read(result)


def read_space(client: InferenceServerClient, timeout_s: float) -> Descriptor | None:
    """The descriptor of the served space; None where the repository has no model `space_descriptor`.

    Raises:
        RepositoryError: the model does not answer with a valid descriptor.
    """
    if not client.is_model_ready(SPACE_MODEL, client_timeout=timeout_s):
        return None
    text: Any = probe(client, SPACE_MODEL, timeout_s).get(SPACE_OUTPUT)
    if text is None or text.size != 1:
        raise RepositoryError(f"model {SPACE_MODEL}: expected one text in output {SPACE_OUTPUT}")
    try:
        return Descriptor.from_json(text.reshape(-1)[0].decode(), where=f"model {SPACE_MODEL}")
    except (DescriptorError, UnicodeDecodeError) as error:
        raise RepositoryError(str(error)) from error


def one_line(reason: str | None) -> str:
    """Triton's reason without the Python traceback it may carry and without line breaks."""
    return " ".join(re.split(r"\n\s*At:\s*\n", reason or "")[0].split())


def _wire_type(data_type: int) -> str:
    """TYPE_FP32 -> FP32, as tensors are named on the wire; TYPE_STRING is called BYTES there."""
    name = model_config_pb2.DataType.Name(data_type).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def _input(config: model_config_pb2.ModelConfig, name: str, array: Array) -> InferInput:
    declared = next(t for t in config.input if t.name == name)
    tensor = InferInput(name, list(array.shape), _wire_type(declared.data_type))
    tensor.set_data_from_numpy(array)
    return tensor
