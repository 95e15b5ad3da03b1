"""Starts a Triton Inference Server, keeps it well, and ends it without a trace."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.serving import binary, process, shm
from resonance.serving.decoder import DECODER_VARIABLE, Decoder
from resonance.serving.errors import RepositoryError, ServerDiedError, ServingError, StartError
from resonance.serving.gpu import plan_flags
from resonance.serving.ports import choose_ports, listens
from resonance.serving.readiness import one_line, probe_all, read_space
from resonance.serving.reload import reload_model
from resonance.serving.repository import check_files, read_repository
from resonance.space.descriptor import Descriptor

Target = Literal["cpu", "gpu", "aoti"]

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound)
_LOG_TAIL_LINES = 20
#: What Triton 2.51 ends with when a process does not get the processor for 10 s while holding a lock.
_LOCK_FAILURE = "boost::interprocess::lock_exception"
_FLUSH_S = 1.0  # for answers on their way out, once all models are done
_EXIT_MARGIN_S = 5.0  # Triton counts its exit timeout in whole seconds, and unloads models after it
#: Said at every start without a GPU; never the reason why one failed.
_NO_GPU = "CudaDriverHelper has not been initialized"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a server is started.

    Attributes:
        model_repository: the folder of models.
        target: which config of each model is used.
        decoder: what keyframes are decoded with; None takes DALI for ``gpu`` and PyAV else.
        host: the address that all three ports are bound to.
        grpc_port, http_port, metrics_port: 0 picks a free one.
        start_timeout_s: from the start of the process until every model has answered.
        probe_timeout_s: for one made-up inference.
        drain_s: how long requests in flight may take after `stop`. An idle HTTP connection that a client
            keeps open makes Triton wait this long (the metrics port has the same habit); gRPC's do not.
        log_file: where Triton's log is kept; by default it is removed when the server stops.
        extra: further flags for `tritonserver`, such as TLS.
    """

    model_repository: Path
    target: Target = "cpu"
    decoder: Decoder | None = None
    host: str = "127.0.0.1"
    grpc_port: int = 0
    http_port: int = 0
    metrics_port: int = 0
    start_timeout_s: float = 180.0
    probe_timeout_s: float = 30.0
    drain_s: float = 10.0
    log_file: Path | None = None
    extra: tuple[str, ...] = ()


class TritonServer:
    """A Triton server of this process: a context manager, or `start` and `stop`.

    Attributes:
        space: the descriptor of the served space, once started; None if the repository has none.
        models: names of the models that have answered.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.space: Descriptor | None = None
        self.models: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._folder = Path()
        self._prefix = ""
        self._stubs: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """``host:port`` for gRPC clients."""
        return self._address("grpc")

    @property
    def http_address(self) -> str:
        """``host:port`` for HTTP clients."""
        return self._address("http")

    @property
    def metrics_address(self) -> str:
        """``host:port`` where ``/metrics`` answers."""
        return self._address("metrics")

    @property
    def pid(self) -> int:
        """Process id of `tritonserver`, which is also its process group."""
        if self._process is None:
            raise StartError("the server is not started")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Triton's log."""
        return self.settings.log_file or self._folder / "triton.log"

    def start(self) -> None:
        """Start the server and return when every model has answered.

        Raises:
            TritonNotUsableError: no Triton, or this environment does not fit it.
            RepositoryError: files are missing, or a model was refused or failed its probe.
            SharedMemoryError: too little room in /dev/shm.
            PortTakenError: a given port is in use.
            StartError: the server ended early or was not ready in time; `log_tail` has the log's end.
        """
        if self._process is not None:
            raise StartError("the server is already started")
        try:
            self._launch()
        except StartError as failed:
            if _LOCK_FAILURE not in failed.log_tail:
                raise
            _log.warning(
                "Triton's processes waited too long for each other on a busy machine; starting again"
            )
            self._launch()

    def _launch(self) -> None:
        """One try of `start`; leaves nothing behind when it fails."""
        settings = self.settings
        decoder = settings.decoder or (Decoder.DALI if settings.target == "gpu" else Decoder.PYAV)
        models = read_repository(settings.model_repository, settings.target, decoder)
        triton = binary.find_triton()
        binary.check_numpy()
        environment = binary.server_environment(triton) | {DECODER_VARIABLE: decoder}
        for place in (shm.SHM, Path(tempfile.gettempdir())):
            shm.remove_stale_regions(place)
        self._prefix = shm.own_prefix()
        self._folder = Path(tempfile.mkdtemp(prefix=self._prefix))
        try:
            needed = {m.config.backend for m in models if not m.is_ensemble}
            backends = binary.lay_out_backends(triton, self._folder / "site", needed)
            check_files(models, {p.name for p in backends.iterdir()})
            flags = [*plan_flags(models), *(f"--load-model={m.name}" for m in models)]
            shm.check_room(models)
            wanted = {p: getattr(settings, f"{p}_port") for p in ("grpc", "http", "metrics")}
            self._ports = choose_ports(settings.host, wanted)
            command = self._command(triton, backends, flags)
            self._process = process.start_process(command, environment, self.log_path)
            self._become_ready([m.name for m in models])
        except BaseException:
            self.stop(drain_s=0)
            raise

    def check(self) -> list[str]:
        """Look after the server; call it about once a second. Names of the models that were repaired.

        A stub process that died is never started again by Triton, which calls itself ready all the
        same; its model is loaded anew here, while the other models go on answering.

        Raises:
            ServerDiedError: the server has ended by itself.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise ServerDiedError(f"Triton ended by itself ({_ending(code)})", self.log_tail())
        dead = self._stubs - Counter(process.stubs(self.pid).values())
        repaired = []
        for name in dead:
            _log.warning("model %s: its process died; loading it again", name)
            try:
                with InferenceServerClient(self._client_address()) as client:
                    reload_model(client, name, self.settings.probe_timeout_s)
            except (RepositoryError, InferenceServerException) as error:
                _log.error("model %s: could not be loaded again: %s", name, one_line(str(error)))
                continue
            repaired.append(name)
        return repaired

    def stop(self, drain_s: float | None = None) -> None:
        """End the server: no new requests, those in flight are answered within `drain_s`, nothing is left.

        Does nothing when it is not started.
        """
        drain_s = self.settings.drain_s if drain_s is None else drain_s
        if self._process is not None:
            patience_s = drain_s + _EXIT_MARGIN_S if drain_s > 0 else 0
            if not process.end(self._process, drain_s=patience_s, drained=self._drained) and drain_s > 0:
                _log.info("Triton waited for a connection that stayed open and was killed")
            self._process = None
        if self._prefix:
            shm.remove_regions(self._prefix)
            self._prefix = ""
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines of Triton's log."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 400 * lines))  # it may have grown for weeks
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _become_ready(self, wanted: list[str]) -> None:
        """Wait for the server's port, which it opens when all models are loaded, then probe those wanted."""
        assert self._process is not None
        settings = self.settings
        deadline = time.monotonic() + settings.start_timeout_s
        host = _ANY_ADDRESS.get(settings.host, settings.host)
        while not listens(host, self._ports["grpc"]):
            code = self._process.poll()
            if code is not None:
                reason = self._last_error() or _ending(code)
                raise StartError(f"Triton ended while starting: {reason}", self.log_tail())
            if time.monotonic() > deadline:
                limit = f"{settings.start_timeout_s:g} s"
                raise StartError(f"Triton was not ready within {limit}", self.log_tail())
            time.sleep(0.05)
        try:
            with InferenceServerClient(self._client_address()) as client:
                self.models = probe_all(client, wanted, settings.probe_timeout_s)
                self.space = read_space(client, settings.probe_timeout_s)
        except InferenceServerException as error:
            code = self._process.poll()
            ended = f" and ended ({_ending(code)})" if code is not None else ""
            reason = one_line(error.message())
            raise StartError(
                f"Triton stopped answering while starting{ended}: {reason}", self.log_tail()
            ) from error
        self._stubs = Counter(process.stubs(self.pid).values())

    def _command(self, triton: binary.Triton, backends: Path, extra: list[str]) -> list[str]:
        """The command line of `tritonserver`; `extra` names the models and what their plans need."""
        settings = self.settings
        flags = {
            "model-repository": settings.model_repository.resolve(),
            "backend-directory": backends,
            "cache-directory": triton.caches,
            "model-config-name": settings.target,
            # Explicit control lets a model be left out, and be loaded again when its process died.
            "model-control-mode": "explicit",
            # A bad model is named with its reason by the repository index; exiting would leave only a log.
            "exit-on-error": "false",
            "http-address": settings.host,
            "http-port": self._ports["http"],
            "grpc-address": settings.host,
            "grpc-port": self._ports["grpc"],
            "metrics-address": settings.host,
            "metrics-port": self._ports["metrics"],
            # Quantiles of each model's latencies beside their sums, which Triton leaves out by default.
            "metrics-config": "summary_latencies=true",
            "exit-timeout-secs": max(1, round(settings.drain_s)),
            # Clients that ping every few seconds would be sent away (GOAWAY) otherwise.
            "grpc-http2-min-recv-ping-interval-without-data": 2000,
            "grpc-http2-max-ping-strikes": 0,
            "backend-config": f"python,shm-region-prefix-name={self._prefix}",
        }
        command = [str(triton.binary), *(f"--{name}={value}" for name, value in flags.items())]
        # Configs are complete; completing them would start one more process a model, only to ask it.
        return [*command, "--disable-auto-complete-config", *extra, *settings.extra]

    def _drained(self) -> bool:
        """Whether every request was answered and only a client's open stream keeps Triton from ending."""
        if "Found 0 live models" not in self.log_tail():
            return False
        time.sleep(_FLUSH_S)
        return True

    def _last_error(self) -> str:
        """Triton's last error line without its time and source position."""
        lines = self.log_tail(1000).splitlines()
        errors = [line for line in lines if re.match(r"E\d{4} |error:|tritonserver: |  what\(\): ", line)]
        errors = [line for line in errors if _NO_GPU not in line] or errors
        return re.sub(r"^E\d{4} \S+ \d+ [\w.]+:\d+\] ", "", errors[-1]).strip('" ') if errors else ""

    def _address(self, purpose: str) -> str:
        if self._process is None:
            raise StartError("the server is not started")
        host = self.settings.host
        return f"[{host}]:{self._ports[purpose]}" if ":" in host else f"{host}:{self._ports[purpose]}"

    def _client_address(self) -> str:
        host = _ANY_ADDRESS.get(self.settings.host, self.settings.host)
        return f"[{host}]:{self._ports['grpc']}" if ":" in host else f"{host}:{self._ports['grpc']}"


def _ending(code: int) -> str:
    """How a process ended, from its return code."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


__all__ = ["ServerSettings", "ServingError", "TritonServer"]
