"""Ours on Triton, infinity over HTTP, and libraries in a process of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import np_to_triton_dtype

from resonance.loadtest.bench.peers.load import Round, Vectors, closed_loop
from resonance.loadtest.bench.peers.workload import Images
from resonance.serving import admin, process
from resonance.serving.ports import choose_ports
from resonance.serving.server import ServerSettings, TritonServer

WORKER = Path(__file__).with_name("worker.py")
EXPORT_BERT = Path(__file__).with_name("export_bert.py")
START_TIMEOUT_S = 120.0
#: No hub is asked, and nobody is told that infinity was started.
OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


class OnTriton:
    """One model of a running Triton, through gRPC.

    Args:
        items: the inputs of each request by name, batch axis included.
        output: what is asked for, [1, width].
    """

    def __init__(
        self, name: str, server: TritonServer, model: str, items: Sequence[dict[str, Any]], output: str
    ) -> None:
        self.name, self._pid, self._model, self._output = name, server.pid, model, output
        self._client = InferenceServerClient(server.client_address, channel_args=list(admin.CHANNEL))
        self._items = [_tensors(item) for item in items]
        self._wanted = [InferRequestedOutput(output)]

    async def measure(self, concurrency: int, seconds: float) -> Round:
        """See Contender."""
        return await closed_loop(self._send, self._pid, concurrency, seconds)

    async def vectors(self, count: int) -> Vectors:
        """See Contender."""
        return np.concatenate([await self._send(i) for i in range(count)])

    async def close(self) -> None:
        """Free the connection."""
        await self._client.close()

    async def _send(self, number: int) -> Vectors:
        inputs = self._items[number % len(self._items)]
        answer = await self._client.infer(self._model, inputs, outputs=self._wanted)
        found: Vectors = answer.as_numpy(self._output)
        return found


class OnInfinity:
    """`POST /embeddings` of a running infinity, one sentence a request."""

    def __init__(self, name: str, url: str, pid: int, items: Sequence[str]) -> None:
        self.name, self._pid, self._url = name, pid, f"{url}/embeddings"
        self._bodies = [json.dumps({"model": "minilm", "input": [text]}).encode() for text in items]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers={"Content-Type": "application/json"}
        )

    async def measure(self, concurrency: int, seconds: float) -> Round:
        """See Contender."""
        return await closed_loop(self._send, self._pid, concurrency, seconds)

    async def vectors(self, count: int) -> Vectors:
        """See Contender."""
        return np.stack([np.array(await self._send(i), np.float32) for i in range(count)])

    async def close(self) -> None:
        """Free the connections."""
        await self._session.close()

    async def _send(self, number: int) -> list[float]:
        body = self._bodies[number % len(self._bodies)]
        async with self._session.post(self._url, data=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{self.name} answered {answer.status}: {(await answer.text())[:300]}")
            found: list[float] = (await answer.json())["data"][0]["embedding"]
            return found


class InProcess:
    """A library's loop (`worker.py`). Here `concurrency` is how many items it gets at a time."""

    def __init__(self, name: str, worker: subprocess.Popen[bytes]) -> None:
        self.name, self._worker = name, worker

    async def measure(self, concurrency: int, seconds: float) -> Round:
        """See Contender. Each item of a batch waits for the whole batch."""
        found = await asyncio.to_thread(self._ask, {"batch": concurrency, "seconds": seconds})
        p50, p99 = np.percentile(found["batches_s"], (50, 99)) * 1e3
        return Round(
            per_s=found["items"] / found["wall_s"],
            p50_ms=float(p50),
            p99_ms=float(p99),
            server_cpu_ms=found["cpu_s"] / found["items"] * 1e3,
            client_cpu_ms=0.0,
        )

    async def vectors(self, count: int) -> Vectors:
        """See Contender."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "vectors.npy")
            await asyncio.to_thread(self._ask, {"vectors": count, "path": str(path)})
            found: Vectors = np.load(path)
        return found

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(request).encode() + b"\n")
        self._worker.stdin.flush()
        return _reply(self._worker, self.name)


def sentences_on_triton(
    name: str, repository: Path, items: Sequence[str]
) -> AbstractAsyncContextManager[OnTriton]:
    """Tokenizer and encoder as one request of one sentence."""
    inputs = [{"TEXT": np.array([[text.encode()]], object)} for text in items]
    return _on_triton(name, repository, "transcript_embedding", inputs, "TRANSCRIPT")


def images_on_triton(name: str, repository: Path, items: Images) -> AbstractAsyncContextManager[OnTriton]:
    """One picture a request, as bytes of pixels."""
    mask, times = np.ones((1, 1), np.bool_), np.zeros((1, 1), np.float32)
    inputs = [{"FRAMES": image[None, None], "FRAME_MASK": mask, "FRAME_TIMES": times} for image in items]
    return _on_triton(name, repository, "visual_encoder", inputs, "VISUAL")


@asynccontextmanager
async def _on_triton(
    name: str, repository: Path, model: str, inputs: Sequence[dict[str, Any]], output: str
) -> AsyncIterator[OnTriton]:
    with TritonServer(ServerSettings(model_repository=repository)) as server:
        contender = OnTriton(name, server, model, inputs, output)
        try:
            yield contender
        finally:
            await contender.close()


@asynccontextmanager
async def sentences_on_infinity(
    name: str, programs: Path, checkpoint: Path, flags: Sequence[str], items: Sequence[str]
) -> AsyncIterator[OnInfinity]:
    """infinity with one engine; `flags` choose it."""
    with _infinity(programs, checkpoint, flags) as (url, pid):
        contender = OnInfinity(name, url, pid, items)
        try:
            yield contender
        finally:
            await contender.close()


@contextmanager
def in_process(
    name: str, programs: Path, kind: str, checkpoint: Path, items: Sequence[str] | Images
) -> Iterator[InProcess]:
    """`kind` of `worker.py` over `items`."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        inputs = Path(folder, "inputs.npy")
        if isinstance(items, np.ndarray):
            np.save(inputs, items)
        else:
            inputs.write_text(json.dumps(list(items)), encoding="utf-8")
        worker = subprocess.Popen(
            [programs / "python", WORKER, kind, checkpoint, inputs],
            env={**os.environ, **OFFLINE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            _reply(worker, name)
            yield InProcess(name, worker)
        finally:
            worker.kill()
            worker.communicate()


@contextmanager
def _infinity(programs: Path, checkpoint: Path, flags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A running infinity: its URL and process id."""
    port = choose_ports("127.0.0.1", {"http": 0})["http"]
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(programs / "infinity_emb"), "v2", f"--model-id={checkpoint.resolve()}"),
        *("--served-model-name=minilm", "--device=cpu", "--host=127.0.0.1", f"--port={port}"),
        *("--log-level=warning", *flags),
    ]
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        log = Path(folder, "infinity.log")
        server = process.start_process(command, {**os.environ, **OFFLINE, "HF_HOME": folder}, log)
        try:
            _wait_until_healthy(url, server, log)
            yield url, server.pid
        finally:
            process.end(server, drain_s=5)


def onnx_checkpoint(programs: Path, checkpoint: Path, folder: Path) -> Path:
    """A copy of `checkpoint` in `folder` with the ONNX file of infinity's ONNX engine, which adds more.

    Raises:
        RuntimeError: the export failed; its last words.
    """
    if not (folder / "onnx" / "model.onnx").is_file():
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        command = [programs / "python", EXPORT_BERT, folder]
        done = subprocess.run(
            command, env={**os.environ, **OFFLINE}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{EXPORT_BERT.name} failed for {folder}: {done.stderr.strip()[-1500:]}")
    return folder


def _reply(worker: subprocess.Popen[bytes], name: str) -> Any:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(
            f"{name}: its process ended (exit {worker.wait()}); run {WORKER} by hand to see why"
        )
    return json.loads(line)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"infinity did not start within {START_TIMEOUT_S:g} s: {log.read_text()[-2000:]}")


def _tensors(item: dict[str, Any]) -> list[InferInput]:
    tensors = []
    for name, array in item.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors
