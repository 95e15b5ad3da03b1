"""A Triton backend named `resonance_dali`, in Python: DALI in a process that may die alone.

NVIDIA's C++ backend `dali` runs inside Triton's process, where a decoder that hangs or breaks the GPU's
context takes every request along. Triton picks this folder up for `backend: "resonance_dali"`. The file
stands alone: numpy, DALI and Triton's own utilities. It runs the pipeline that the model's file (`dali.py`)
marks with `@autoserialize`, whose external sources are named as the model's inputs and which has one output.

One bad sample fails a batch and leaves the pipeline unusable, so the pipeline is built again and the
requests are run one by one; those that fail alone are refused. A run that does not end, and a pipeline
that cannot be built again, as after a fault on the GPU, end this process: nothing less frees a hung decoder
or a broken context, and whoever looks after the server starts it anew.

Model parameter read: `run_timeout_s`, the longest a run may take, in seconds (default 10).
"""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLongError
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Array = npt.NDArray[Any]

RUN_TIMEOUT_S = 10.0
#: NVDEC's library, of the driver. DALI builds its pipeline without it, and fails at every run then.
NVDEC = "libnvcuvid.so.1"
HUNG = 70  # this process's exit code; EX_SOFTWARE of sysexits.h
#: Rows a run, however many come together: on the GPU each holds eight frames of its film's size at once.
MOST_ROWS = 16
#: On the GPU. A thread keeps one of NVDEC's engines busy (an H200 has seven), and waits for it.
GPU_THREADS = 16


class TritonPythonModel:
    """One DALI pipeline behind one Triton model instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Build the pipeline on the instance's device."""
        config = json.loads(args["model_config"])
        self._name = args["model_name"]
        if len(config["output"]) != 1:
            raise pb_utils.TritonModelException(
                f"{self._name}: {len(config['output'])} outputs; expected one"
            )
        self._inputs = [t["name"] for t in config["input"]]
        self._output = config["output"][0]["name"]
        self._most = min(int(config["max_batch_size"]), MOST_ROWS)
        timeout = config.get("parameters", {}).get("run_timeout_s", {}).get("string_value")
        self._timeout_s = float(timeout or RUN_TIMEOUT_S)
        file = os.path.join(
            args["model_repository"],
            args["model_version"],
            config.get("default_model_filename") or "dali.py",
        )
        definition = load_definition(file, self._name)
        gpu = args["model_instance_kind"] == "GPU"
        if gpu:
            check_nvdec(self._name)
        device_id = int(args["model_instance_device_id"]) if gpu else None
        self._make = lambda: build(definition, self._most, device_id)
        self._thread = ThreadPoolExecutor(1)
        try:
            self._pipeline = self._make()
        except Exception as error:
            raise pb_utils.TritonModelException(
                f"{self._name}: {file}: the pipeline cannot be built ({one_line(error)})"
            ) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request. What comes together is decoded together."""
        batches = [
            [pb_utils.get_input_tensor_by_name(r, name).as_numpy() for name in self._inputs] for r in requests
        ]
        try:
            outputs = self._run_all(batches)
        except RuntimeError as error:
            if len(batches) == 1:  # it was alone
                return [self._refusal(error, batches[0])]
            return [self._alone(batch) for batch in batches]
        return [self._response(rows) for rows in outputs]

    def _alone(self, batch: list[Array]) -> Any:
        try:
            return self._response(self._run_all([batch])[0])
        except RuntimeError as error:
            return self._refusal(error, batch)

    def _refusal(self, error: RuntimeError, batch: list[Array]) -> Any:
        refusal = pb_utils.TritonError(
            f"{self._name}: {one_line(error)}; came {len(batch[0])} row(s)",
            pb_utils.TritonError.INVALID_ARG,
        )
        return pb_utils.InferenceResponse(error=refusal)

    def _response(self, rows: Array) -> Any:
        return pb_utils.InferenceResponse([pb_utils.Tensor(self._output, rows)])

    def _run_all(self, batches: Sequence[list[Array]]) -> list[Array]:
        """Outputs of every request, at most `MOST_ROWS` rows a run.

        Raises:
            RuntimeError: DALI refused a sample; the pipeline was built again.
        """
        rows = [[row for batch in batches for row in batch[i]] for i in range(len(self._inputs))]
        outputs = [
            self._run([column[start : start + self._most] for column in rows])
            for start in range(0, len(rows[0]), self._most)
        ]
        joined = np.concatenate(outputs) if len(outputs) > 1 else outputs[0]
        ends = np.cumsum([len(batch[0]) for batch in batches])
        return [np.ascontiguousarray(part) for part in np.split(joined, ends[:-1])]

    def _run(self, columns: list[list[Array]]) -> Array:
        """One run of the pipeline, watched."""
        run = self._thread.submit(self._run_now, columns)
        try:
            return run.result(self._timeout_s)
        except TookTooLongError:
            self._end(f"DALI did not come back within {self._timeout_s:g} s")
        except Exception as refused:  # RuntimeError of most operators, MemoryError of some
            try:
                self._pipeline = self._make()
            except Exception as error:
                self._end(f"after '{one_line(refused)}' DALI cannot begin anew ({one_line(error)})")
            raise RuntimeError(one_line(refused)) from refused

    def _end(self, why: str) -> NoReturn:
        print(f"{self._name}: {why}; ending this process", file=sys.stderr, flush=True)
        os._exit(HUNG)

    def _run_now(self, columns: list[list[Array]]) -> Array:
        for name, column in zip(self._inputs, columns, strict=True):
            self._pipeline.feed_input(name, column)
        (output,) = self._pipeline.run()
        array: Array = output.as_cpu().as_array()
        return array.copy()  # the pipeline writes its next output to the same place


def check_nvdec(model: str) -> None:
    """Raises TritonModelException where the driver's video decoding is not there."""
    try:
        ctypes.CDLL(NVDEC)
    except OSError as error:
        raise pb_utils.TritonModelException(
            f"{model}: the driver's {NVDEC} cannot be loaded ({error}); give the container the driver's "
            "`video` capability (NVIDIA_DRIVER_CAPABILITIES=compute,utility,video), or serve with "
            "`--decoder pyav`"
        ) from None


def load_definition(file: str, model: str) -> Callable[..., Any]:
    """The pipeline definition that `file` marks with `@autoserialize`."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        raise pb_utils.TritonModelException(
            f"{model}: NVIDIA DALI is not installed; `pip install nvidia-dali-cuda130==2.4.0` into the "
            "server's Python, or serve with `--decoder pyav`"
        )
    specification = importlib.util.spec_from_file_location(f"{model}_pipeline", file)
    if specification is None or specification.loader is None or not os.path.isfile(file):
        raise pb_utils.TritonModelException(f"{model}: {file} is missing; it comes with the repository")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise pb_utils.TritonModelException(f"{model}: {file} cannot be loaded ({one_line(error)})") from None
    marked = [d for d in vars(module).values() if getattr(d, "_is_autoserialize", False)]
    if len(marked) != 1:
        raise pb_utils.TritonModelException(
            f"{model}: {file} marks {len(marked)} pipelines with @autoserialize; expected one"
        )
    definition: Callable[..., Any] = marked[0]
    return definition


def build(definition: Callable[..., Any], batch: int, device_id: int | None) -> Any:
    """A pipeline ready to run; on the CPU where there is no device."""
    arguments: dict[str, Any] = {"batch_size": batch, "device_id": device_id}
    if device_id is not None:
        arguments["num_threads"] = GPU_THREADS
    elif "device" in inspect.signature(definition).parameters:
        arguments["device"] = "cpu"
    pipeline = definition(**arguments)
    pipeline.build()
    return pipeline


def one_line(error: Exception) -> str:
    """DALI's message without its tracebacks: the line that says what failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "failed" in line.lower() or "error" in line.lower()]
    return " ".join((told or lines or [type(error).__name__])[-1].split())[:400]
